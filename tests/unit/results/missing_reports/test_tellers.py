"""Tests how many reports without a record one caller may show in a day."""

from __future__ import annotations

from structlog.testing import capture_logs

from services.domain.instant import DAY
from services.results.missing_reports.tellers import TellerLimit
from services.runtime.call import name_of_teller, teller_of
from services.runtime.caller import LOCAL, Caller

USCC, OTHER = "91410100MA0000001X", "91220501MA0HUTNG0T"
GATE, NOW = "gates/410100/1", 20_000 * DAY


def test_a_caller_uses_up_neither_a_laboratory_nor_the_share_of_others() -> None:
    """Further reports of the caller are dropped until the next day, of one laboratory or of all, and logged once."""
    limit = TellerLimit(of_one_lab=2, of_all_labs=3)
    with capture_logs() as logs:
        assert [limit.admits(GATE, USCC, NOW) for _ in range(4)] == [True, True, False, False]
        assert [limit.admits(GATE, OTHER, NOW) for _ in range(2)] == [True, False]
    assert [(line["caller"], line["lab"]) for line in logs] == [(GATE, f"labs/{USCC}")]
    assert limit.admits("gates/410100/2", USCC, NOW)
    assert all(limit.admits("", USCC, NOW) for _ in range(5))
    assert limit.admits(GATE, USCC, NOW + DAY)


def test_each_user_of_an_application_is_counted_apart() -> None:
    """A local caller is not counted at all."""
    app, users = "apps/health-code", [bytes([one]) * 32 for one in range(2)]
    tellers = [teller_of(Caller("app", app, user=user)) for user in users]
    assert len({*tellers, app}) == 3
    assert [name_of_teller(one) for one in tellers] == [app] * 2
    assert teller_of(Caller("gate", GATE)) == name_of_teller(GATE) == GATE
    assert teller_of(Caller(LOCAL, LOCAL)) == ""
