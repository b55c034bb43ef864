"""The first showing of a report wins, in whatever process; what does not fit it is flagged and listed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from prometheus_client import REGISTRY

from services.domain.instant import DAY, shanghai_day
from services.runtime.ids import uuid7
from services.storage.engine import Database, open_database
from services.verification.retention import Purge, RetentionAges, purge_verification
from services.verification.showings.model import (
    LAB_NOT_REGISTERED,
    NUMBER_WITHOUT_DIGIT,
    OTHER_PERSON,
    OTHER_TIMES,
)
from services.verification.showings.store import EvidenceFlag, FlagQuery, FlagStore
from tests.support.databases import MakeUrl
from tests.support.verification.showings import LAB, NEW, NOW, OTHER_LAB, PEPPER, keep, showing


async def flags(database: Database, query: FlagQuery | None = None) -> list[EvidenceFlag]:
    return await FlagStore(database).list_flags(query or FlagQuery(), None, 100)


def _counted() -> float:
    return REGISTRY.get_sample_value("hutong_evidence_flags_total", {"kind": "OTHER_PERSON"}) or 0.0


async def test_a_second_person_and_other_times_are_flagged(database_url: MakeUrl) -> None:
    """The same person again with the same times is not. A flag names both decisions, and no county."""
    database = open_database(database_url("verification"))
    first, again, stranger, edited = showing(1), showing(1), showing(2), showing(1, sampled=NOW)
    before = _counted()
    for one in (first, again, stranger, edited):
        await keep(database, one)
    assert [(flag.decision, flag.other_decision, flag.kinds) for flag in await flags(database)] == [
        (edited.uuid, first.uuid, [OTHER_TIMES]),
        (stranger.uuid, first.uuid, [OTHER_PERSON]),
    ]
    assert [(flag.lab, flag.report_number, flag.region, flag.show_day) for flag in await flags(database)] == [
        (LAB, "R1", "410100", shanghai_day(NOW))
    ] * 2
    assert _counted() == before + 1
    assert [flag.decision for flag in await FlagStore(database).flags_of(edited.uuid)] == [edited.uuid]
    database.close()


async def test_of_two_showings_in_one_transaction_the_earlier_is_the_first(database_url: MakeUrl) -> None:
    database = open_database(database_url("verification"))
    one, two = showing(1), showing(2)
    await keep(database, one, two)
    assert [(flag.decision, flag.other_decision) for flag in await flags(database)] == [(two.uuid, one.uuid)]
    database.close()


async def test_of_two_processes_one_has_the_first_showing(database_url: MakeUrl) -> None:
    """Ten reports shown for two persons at the same time, in both orders: one flag each, and no deadlock."""
    url = database_url("verification")
    databases = [open_database(url) for _ in range(2)]
    numbers = [f"R{number}" for number in range(10)]
    shown = [[showing(person, number) for number in numbers[:: 1 if person else -1]] for person in range(2)]
    await asyncio.gather(*(keep(database, *part) for database, part in zip(databases, shown, strict=True)))
    found = await flags(databases[0])
    assert sorted(flag.report_number for flag in found) == sorted(numbers)
    assert all(flag.kinds == [OTHER_PERSON] and flag.decision != flag.other_decision for flag in found)
    for database in databases:
        database.close()


async def test_what_agrees_with_a_record_flags_the_earlier_showing(database_url: MakeUrl) -> None:
    """The holder of the record is not flagged. An earlier showing whose decision is gone cannot be examined."""
    database = open_database(database_url("verification"))
    forged, real = showing(1, region="410200"), showing(2, certain=True)
    await keep(database, forged)
    await keep(database, real)
    (flag,) = await flags(database)
    assert (flag.decision, flag.other_decision, flag.region) == (forged.uuid, real.uuid, "410200")
    assert flag.kinds == [OTHER_PERSON]
    await keep(database, replace(showing(3, "R2"), uuid=uuid7()))
    await keep(database, showing(4, "R2", certain=True))
    assert len(await flags(database)) == 1
    database.close()


async def test_later_showings_are_compared_with_the_certain_one(database_url: MakeUrl) -> None:
    """After the holder's certain showing, the holder is never flagged, and whoever borrowed the report is each time.

    This also holds for later questions of the same transaction, and under either version of the pepper.
    """
    database = open_database(database_url("verification"))
    peppers = (NEW, PEPPER)
    borrowed, real, own = showing(1), showing(2, certain=True, peppers=peppers), showing(2, peppers=peppers)
    again, edited = showing(1, peppers=peppers), showing(2, sampled=NOW)
    await keep(database, borrowed)
    await keep(database, real, own, again)
    await keep(database, edited)
    await keep(database, showing(2, peppers=peppers))
    expected = [(edited, real, OTHER_TIMES), (again, real, OTHER_PERSON), (borrowed, real, OTHER_PERSON)]
    found = sorted(((it.decision, it.other_decision, *it.kinds) for it in await flags(database)), reverse=True)
    assert found == [(later.uuid, first.uuid, kind) for later, first, kind in expected]
    database.close()


async def test_a_flag_gets_the_kinds_that_are_found_later(database_url: MakeUrl) -> None:
    """An earlier showing with a flag of its own is also flagged for another person. The same kinds are stored once."""
    database = open_database(database_url("verification"))
    forged, real = showing(1, kinds=frozenset({NUMBER_WITHOUT_DIGIT})), showing(2, certain=True)
    await keep(database, forged)
    for _ in range(2):
        await keep(database, real)
        real = replace(real, uuid=uuid7())
    (flag,) = await flags(database)
    assert flag.kinds == [OTHER_PERSON, NUMBER_WITHOUT_DIGIT]
    assert (flag.decision, flag.other_decision) == (forged.uuid, real.showings[0].decision)
    database.close()


async def test_signed_times_are_not_flagged(database_url: MakeUrl) -> None:
    """The laboratory has signed them. Another person is flagged all the same."""
    database = open_database(database_url("verification"))
    await keep(database, showing(1))
    for person in (1, 2):
        one = showing(person, sampled=NOW)
        await keep(database, replace(one, showings=(one.showings[0]._replace(is_signed=True),)))
    assert [flag.kinds for flag in await flags(database)] == [[OTHER_PERSON]]
    database.close()


async def test_a_report_is_known_under_the_other_version_of_the_pepper(database_url: MakeUrl) -> None:
    """Whichever version comes first, the person is recognised, and a report is remembered once."""
    database = open_database(database_url("verification"))
    await keep(database, showing(1))
    await keep(database, showing(1, peppers=(NEW, PEPPER)))
    assert not await flags(database)
    await keep(database, showing(2, peppers=(NEW, PEPPER)))
    assert [flag.kinds for flag in await flags(database)] == [[OTHER_PERSON]]
    await keep(database, showing(1, "R2", peppers=(NEW, PEPPER)), showing(1, "R2", peppers=(NEW, PEPPER)))
    assert len(await flags(database)) == 1
    database.close()


async def test_flags_are_filtered_and_paged(database_url: MakeUrl) -> None:
    """Newest first. A county has none."""
    database = open_database(database_url("verification"))
    kinds = (frozenset({LAB_NOT_REGISTERED}), frozenset({NUMBER_WITHOUT_DIGIT, LAB_NOT_REGISTERED}))
    kept = [showing(1, "A", kinds=kinds[0]), showing(2, "B", lab=OTHER_LAB, region="220502", kinds=kinds[1])]
    kept.append(showing(3, "C", region="410000", kinds=frozenset({NUMBER_WITHOUT_DIGIT})))
    await keep(database, *kept)
    expected = {
        FlagQuery(): "CBA", FlagQuery("000000"): "CBA", FlagQuery("410000"): "CA", FlagQuery("410100"): "A",
        FlagQuery("410105"): "", FlagQuery(kinds=(LAB_NOT_REGISTERED,)): "BA", FlagQuery(lab=OTHER_LAB): "B",
        FlagQuery(kinds=(OTHER_PERSON, NUMBER_WITHOUT_DIGIT)): "CB",
    }  # fmt: skip
    for query, numbers in expected.items():
        assert "".join(flag.report_number for flag in await flags(database, query)) == numbers, query
    store = FlagStore(database)
    seen, position = "", None
    while page := await store.list_flags(FlagQuery(), position, 1):
        seen, position = seen + page[0].report_number, page[0].position
    assert seen == "CBA"
    database.close()


async def test_a_purge_forgets_showings_by_their_day_and_flags_with_their_decision(database_url: MakeUrl) -> None:
    database = open_database(database_url("verification"))
    first, second = showing(1), showing(2)
    await keep(database, first)
    await keep(database, second)
    ages = RetentionAges(decisions=30 * DAY, refusals=DAY, requests=DAY, shown_reports=10 * DAY)

    def purge(days: int) -> tuple[int, int]:
        removed = purge_verification(database, ages, Purge(NOW - 90 * DAY, NOW + days * DAY, uuid7()))
        return removed.shown_reports, removed.evidence_flags

    assert [purge(days) for days in (10, 11, 31)] == [(0, 0), (1, 0), (0, 1)]
    await keep(database, showing(3))
    assert not await flags(database)
    database.close()
