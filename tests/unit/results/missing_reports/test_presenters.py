"""Tests how many reports without a record one presenter may show in a day."""

from __future__ import annotations

from structlog.testing import capture_logs

from services.domain.instant import DAY
from services.results.missing_reports.presenters import PresenterLimit
from services.runtime.call import name_of_presenter, presenter_of
from services.runtime.caller import LOCAL, Caller

USCC, OTHER = "91410100MA0000001X", "91220501MA0HUTNG0T"
GATE, NOW = "gates/410100/1", 20_000 * DAY


def test_a_caller_uses_up_neither_a_laboratory_nor_the_share_of_others() -> None:
    """Further reports are dropped until the next day, of one laboratory or of all. The log names the caller once."""
    limit = PresenterLimit(of_one_lab=2, of_all_labs=3)
    with capture_logs() as logs:
        assert [limit.admits(GATE, USCC, NOW) for _ in range(4)] == [True, True, False, False]
        assert [limit.admits(GATE, OTHER, NOW) for _ in range(2)] == [True, False]
    assert [(line["caller"], line["lab"]) for line in logs] == [(GATE, f"labs/{USCC}")]
    assert limit.admits("gates/410100/2", USCC, NOW)
    assert all(limit.admits("", USCC, NOW) for _ in range(5))
    assert limit.admits(GATE, USCC, NOW + DAY)


def test_callers_seen_longest_ago_are_forgotten_once_there_are_too_many_counts() -> None:
    """Each laboratory that a caller names has a count of its own. A caller is forgotten with all of them."""
    limit = PresenterLimit(of_one_lab=1, max_counts=3)
    assert all(limit.admits("gates/410100/2", lab, NOW) for lab in (USCC, OTHER))
    assert limit.admits(GATE, USCC, NOW)
    assert not limit.admits("gates/410100/2", USCC, NOW)
    assert all(limit.admits(name, USCC, NOW) for name in ("gates/410100/3", GATE, "gates/410100/4"))
    assert not limit.admits("gates/410100/4", USCC, NOW)
    assert limit.admits("gates/410100/2", USCC, NOW)


def test_each_user_of_an_application_is_counted_apart() -> None:
    """A local caller is not counted at all."""
    app, users = "apps/health-code", [bytes([one]) * 32 for one in range(2)]
    presenters = [presenter_of(Caller("app", app, user=user)) for user in users]
    assert len({*presenters, app}) == 3
    assert [name_of_presenter(one) for one in presenters] == [app] * 2
    assert presenter_of(Caller("gate", GATE)) == name_of_presenter(GATE) == GATE
    assert presenter_of(Caller(LOCAL, LOCAL)) == ""
