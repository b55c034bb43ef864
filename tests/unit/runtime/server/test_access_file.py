"""The access file: whom it excludes, what budgets it sets, and what it must not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.domain.instant import HOUR, MINUTE, shanghai_day, shanghai_day_start
from services.runtime.caller import LOCAL, Caller
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.access.access_file import NO_RULES, AccessRules, read_access_file
from services.runtime.server.access.budget import DEFAULTS, NO_LIMIT
from tests.support.pages import block

MIDNIGHT = shanghai_day_start(shanghai_day(1_700_000_000_000_000))
GATE, LAB = Caller("gate", "gates/410105/7", "410105"), Caller("lab", "labs/91410100MA0000001X")
NODE, ANYBODY = Caller("node", "nodes/410000", "410000"), Caller(LOCAL, LOCAL)


def read(directory: Path, text: str) -> AccessRules:
    file = directory / "access.yaml"
    file.write_text(text)
    return read_access_file(file)


@pytest.mark.parametrize(
    ("entry", "admitted"),
    [
        ("regions: [410000]", True),
        ("regions: ['220000', '410105']", True),
        ("regions: [220000]", False),
        ("hours: 06:00-23:00", True),
        ("hours: 22:00-08:00", False),
        ("hours: 12:00-12:01", True),
        ("hours: 12:01-24:00", False),
        ("regions: [410000], hours: 00:00-12:00", False),
    ],
)
def test_a_grant_is_narrowed_to_regions_and_hours(entry: str, admitted: bool, tmp_path: Path) -> None:
    """The calls are made at noon. Other roles are not narrowed."""
    rules = read(tmp_path, f"grants: [{{role: gate, {entry}}}]")
    assert rules.admits(GATE, MIDNIGHT + 12 * HOUR) is admitted
    assert rules.admits(LAB, MIDNIGHT + 12 * HOUR)


def test_one_of_several_grants_suffices(tmp_path: Path) -> None:
    """Hours may cross midnight, and the end is excluded."""
    rules = read(tmp_path, "grants: [{role: gate, regions: [220000]}, {role: gate, hours: '22:30-04:00'}]")
    times = {0: True, 239: True, 240: False, 12 * 60: False, 22 * 60 + 29: False, 22 * 60 + 30: True}
    assert {minute: rules.admits(GATE, MIDNIGHT + minute * MINUTE) for minute in times} == times


@pytest.mark.parametrize(
    ("entry", "lets"),
    [
        ("bare_number: true", True),
        ("bare_number: false", False),
        ("regions: [410105], bare_number: true", True),
        ("regions: [220000], bare_number: true", False),
        ("hours: 00:00-06:00, bare_number: true", False),
        ("regions: [410000]", False),
    ],
)
def test_a_grant_lets_its_callers_ask_by_the_bare_number(entry: str, lets: bool, tmp_path: Path) -> None:
    """The calls are made at noon. Without a file, and for other roles, a name must be stated."""
    noon = MIDNIGHT + 12 * HOUR
    rules = read(tmp_path, f"grants: [{{role: gate}}, {{role: gate, {entry}}}]")
    assert rules.admits(GATE, noon)
    assert rules.lets_bare_number(GATE, noon) is lets
    assert not rules.lets_bare_number(LAB, noon)
    assert not NO_RULES.lets_bare_number(GATE, noon)


def test_the_closest_quota_wins(tmp_path: Path) -> None:
    """Limit by limit: what it leaves out, the less close one or the default says; null is no limit."""
    rules = read(
        tmp_path,
        """
        quotas:
          - {caller: gates/410105/7, streams: 7}
          - {role: gate, region: 410100, persons_an_hour: 50, misses_an_hour: null}
          - {role: gate, region: "000000", persons_an_hour: 10, calls: 3}
          - {role: gate, calls: 2, heavy_calls: 1}
          - {role: local, persons_an_hour: 5}
        """,
    )
    found = rules.budget_of(GATE)
    assert (found.persons_an_hour, found.misses_an_hour, found.calls, found.heavy_calls, found.streams) == (
        (50, None, 3, 1, 7)
    )
    assert found.units_a_second == DEFAULTS["gate"].units_a_second
    assert rules.budget_of(ANYBODY).persons_an_hour == 5
    assert rules.budget_of(LAB) == DEFAULTS["lab"]
    assert rules.budget_of(NODE) is NO_LIMIT


def test_the_file_of_the_operators_page_is_accepted(tmp_path: Path) -> None:
    """The comments of the file are true of the gate that it names."""
    rules = read(tmp_path, block("docs/operations.md", "yaml"))
    named, other = Caller("gate", "gates/410105/3", "410105"), Caller("gate", "gates/410000/3", "410000")
    assert rules.lets_bare_number(named, MIDNIGHT + 12 * HOUR)
    assert not rules.lets_bare_number(other, MIDNIGHT + 12 * HOUR)
    assert rules.admits(other, MIDNIGHT + 12 * HOUR)
    assert not rules.admits(other, MIDNIGHT + 1 * HOUR)
    assert (rules.budget_of(named).persons_an_hour, rules.budget_of(named).misses_an_hour) == (40_000, 4_000)
    assert (rules.budget_of(GATE).persons_an_hour, rules.budget_of(GATE).misses_an_hour) == (10_000, 300)


def test_only_callers_that_are_held_to_their_own_ask_about_any_number_of_persons() -> None:
    """A gate and a supervisor may ask about anybody, so they have a limit.

    An app may ask about its own users, and a laboratory about its own reports.
    """
    unlimited = {role for role, budget in DEFAULTS.items() if budget.persons_an_hour is None}
    assert unlimited == {"app", "lab", "authority", "operator"}


def test_without_a_file_local_callers_and_nodes_have_no_budget() -> None:
    """The demo and the measurements ask about many people."""
    assert NO_RULES.budget_of(ANYBODY) is NO_LIMIT
    assert NO_RULES.budget_of(NODE) is NO_LIMIT
    assert NO_RULES.budget_of(GATE).persons_an_hour == 3_000
    assert NO_RULES.admits(GATE, MIDNIGHT)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("grants: [", "is no YAML: correct line 1"),
        ("grants: 2022-13-45", "is no YAML"),
        ("[]", "the file must be a mapping"),
        ("grant: []", "grant is unknown; it may have grants, quotas"),
        ("grants: {role: gate}", "grants must be a list"),
        ("grants: [{role: gaet}]", r"grants\[0\].role must be one of lab, gate"),
        ("grants: [{role: edge}]", r"grants\[0\].role must be one of"),
        ("grants: [{role: gate, region: 410100}]", "region is unknown"),
        ("grants: [{role: gate, regions: []}]", r"grants\[0\].regions must be a list"),
        ("grants: [{role: gate, regions: [999999]}]", r"grants\[0\].regions must be a region"),
        ("grants: [{role: gate, hours: 6-23}]", r"grants\[0\].hours must be like 06:00-23:00"),
        ("grants: [{role: gate, hours: '06:00-06:00'}]", "begins where it ends"),
        ("quotas: [{role: gate}]", r"quotas\[0\] states no limit"),
        ("quotas: [{role: gate, calls: 0}]", r"quotas\[0\].calls must be a whole number of at least 1"),
        ("quotas: [{role: gate, calls: true}]", r"quotas\[0\].calls must be a whole number"),
        ("quotas: [{caller: gate 7, calls: 1}]", r"quotas\[0\].caller must be the name of a caller"),
        ("quotas: [{caller: gates/410100/7, role: gate, calls: 1}]", "caller stands without role and region"),
    ],
)
def test_a_wrong_entry_refuses_the_whole_file(text: str, cause: str, tmp_path: Path) -> None:
    """A misspelt entry would let in whom it ought to shut out."""
    with pytest.raises(BadSetting, match=f"HUTONG_ACCESS_FILE:? {cause}|HUTONG_ACCESS_FILE: .*{cause}"):
        read(tmp_path, text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="HUTONG_ACCESS_FILE cannot be read"):
        read_access_file(tmp_path / "none")
