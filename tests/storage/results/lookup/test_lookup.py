"""Reads of committed results by name, of subjects by their keys, and of laboratories with their standing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hutong.results.v1 import lab_pb2

from services.domain.errors import AlreadyExists, InvalidArgument, NotFound
from services.domain.instant import DAY, SECOND
from services.results.exchange.downstream.notifications.subscriptions import read_subscribed
from services.results.labs.model import Lab
from services.results.lookup.pick import MAX_PER_SUBJECT
from tests.support.results.factories import (
    ANTIGEN,
    NOW,
    OTHER_USCC,
    REPORTED,
    USCC,
    make_document,
    make_tube,
    subject_key,
)
from tests.support.results.operations import register, suspend
from tests.support.results.store import Laboratory, open_laboratory

AUTHORIZED = lab_pb2.LAB_STANDING_AUTHORIZED
SUSPENDED = lab_pb2.LAB_STANDING_SUSPENDED
UNKNOWN = lab_pb2.LAB_STANDING_UNSPECIFIED


@pytest.fixture
async def second_process(laboratory: Laboratory) -> AsyncIterator[Laboratory]:
    """Open a second process on the same database."""
    url = laboratory.database.engine.url.render_as_string(hide_password=False)
    async with open_laboratory(url) as opened:
        yield opened


async def test_a_result_is_read_by_name_and_by_revision(laboratory: Laboratory) -> None:
    await laboratory.send([make_tube(0)])
    for revision in (None, 1):
        listing = await laboratory.stores.lookup.get_result(USCC, "R0", revision)
        assert [(one.report_number, one.revision, one.subject_key) for one in listing.results] == [
            ("R0", 1, subject_key(0))
        ]
    for number, revision in (("R0", 2), ("R1", None)):
        with pytest.raises(NotFound):
            await laboratory.stores.lookup.get_result(USCC, number, revision)
    with pytest.raises(NotFound):
        await laboratory.stores.lookup.get_result(OTHER_USCC, "R0", None)


async def test_subjects_are_answered_in_order_each_with_the_newest_first(laboratory: Laboratory) -> None:
    """Results span months. One subject is unknown, and one is asked for twice."""
    tubes = []
    for days in (3, 40, 0, 75):
        for person in (0, 1):
            tube = make_tube(person, reported=REPORTED - days * DAY)
            tube.persons[0].report_number = f"R{person}-{days}"
            tubes.append(tube)
    await laboratory.send(tubes)
    keys = [subject_key(person) for person in (1, 9, 0, 1)]
    matches = await laboratory.stores.lookup.find_subjects(keys, [(USCC, "R0-3"), (USCC, "R9")], NOW)
    newest_first = [[f"R{person}-{days}" for days in (0, 3, 40, 75)] for person in (1, 0)]
    assert [[result.report_number for result in results] for results in matches.by_subject] == [
        newest_first[0],
        [],
        newest_first[1],
        newest_first[0],
    ]
    assert {name: result.subject_key for name, result in matches.by_report.items()} == {(USCC, "R0-3"): subject_key(0)}
    assert [list(person) for person in matches.subjects] == [[key] for key in keys]


async def test_a_subject_with_very_many_results_is_answered_by_the_newest(laboratory: Laboratory) -> None:
    tubes = [make_tube(index, reported=REPORTED - index * SECOND) for index in range(MAX_PER_SUBJECT + 5)]
    for tube in tubes:
        tube.persons[0].document.CopyFrom(make_document(0))
    await laboratory.send(tubes)
    (results,) = (await laboratory.stores.lookup.find_subjects([subject_key(0)], [], NOW)).by_subject
    assert [result.report_number for result in results] == [f"R{index}" for index in range(MAX_PER_SUBJECT)]


async def test_very_many_results_of_one_item_hide_none_of_another(laboratory: Laboratory) -> None:
    """A look-up and the answer to a subscription have the one older result beside MAX_PER_SUBJECT of the other item."""
    tubes = [make_tube(index, reported=REPORTED - index * SECOND, item=ANTIGEN) for index in range(MAX_PER_SUBJECT + 5)]
    tubes.append(make_tube(999, reported=REPORTED - DAY))
    for tube in tubes:
        tube.persons[0].document.CopyFrom(make_document(0))
    await laboratory.send(tubes, items=("", "sars-cov-2-antigen"))
    key = subject_key(0)
    (alone,) = (await laboratory.stores.lookup.find_subjects([key], [], NOW)).by_subject
    assert [(result.report_number, result.item) for result in alone] == [("R999", "")]
    (both,) = (await laboratory.stores.lookup.find_subjects([key], [], NOW, ["", "sars-cov-2-antigen"])).by_subject
    (subscribed,) = await laboratory.database.read(read_subscribed, "410000", [[key]])
    expected = [*(f"R{index}" for index in range(MAX_PER_SUBJECT)), "R999"]
    assert [result.report_number for result in both] == expected
    assert [replica.result.report_number for replica in subscribed.replicas] == expected


async def test_a_laboratory_is_registered_once(laboratory: Laboratory) -> None:
    """Repeating the same content returns the stored laboratory. Other content is refused."""
    first = await register(laboratory)
    assert await register(laboratory) == first == await laboratory.stores.labs.get_lab(USCC)
    assert [(change.standing, change.effective_time) for change in first.changes] == [(AUTHORIZED, None)]
    with pytest.raises(AlreadyExists):
        await register(laboratory, Lab(USCC, "另一检验所", "220500", "", None, NOW, ()))
    with pytest.raises(NotFound):
        await laboratory.stores.labs.get_lab(OTHER_USCC)


async def test_standings_are_added_in_order_and_a_request_id_adds_one_once(laboratory: Laboratory) -> None:
    await register(laboratory)
    for _ in range(2):
        await suspend(laboratory, NOW, request_id="0192f0c1-0000-7000-8000-000000000001")
    await suspend(laboratory, NOW - DAY, "found late")
    changes = (await laboratory.stores.labs.get_lab(USCC)).changes
    assert [(change.standing, change.effective_time, change.reason) for change in changes] == [
        (AUTHORIZED, None, "registered"),
        (SUSPENDED, NOW, "red light"),
        (SUSPENDED, NOW - DAY, "found late"),
    ]
    with pytest.raises(InvalidArgument) as caught:
        await suspend(laboratory, NOW, "another reason", request_id="0192f0c1-0000-7000-8000-000000000001")
    assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_a_change_of_standing_is_seen_at_once_here_and_within_a_second_elsewhere(
    laboratory: Laboratory, second_process: Laboratory
) -> None:
    """The other place is a second process. Look-ups and reads of one result see the change, also of an older result."""
    await register(laboratory)
    await laboratory.send([make_tube(0)])
    later = NOW + 60 * SECOND

    async def standings(each: Laboratory) -> tuple[int, int]:
        matches = await each.stores.lookup.find_subjects([subject_key(0)], [], each.clock.now())
        listing = await each.stores.lookup.get_result(USCC, "R0", None)
        return matches.standing_at(USCC, REPORTED), listing.standing_at(USCC, REPORTED)

    for each in (laboratory, second_process):
        each.clock.instant = later
        assert await standings(each) == (AUTHORIZED, AUTHORIZED)
    await suspend(laboratory, NOW - DAY)
    assert await standings(laboratory) == (SUSPENDED, SUSPENDED)
    second_process.clock.instant = later + SECOND
    assert await standings(second_process) == (SUSPENDED, SUSPENDED)


async def test_reading_results_alone_does_not_keep_an_old_standing_alive(
    laboratory: Laboratory, second_process: Laboratory
) -> None:
    """The age of a cached laboratory counts from its read, not from a result."""
    await register(laboratory)
    await laboratory.send([make_tube(0)])
    listing = await second_process.stores.lookup.get_result(USCC, "R0", None)
    assert listing.standing_at(USCC, REPORTED) == AUTHORIZED
    await suspend(laboratory, NOW - DAY)
    second_process.clock.advance(SECOND)
    listing = await second_process.stores.lookup.get_result(USCC, "R0", None)
    assert listing.standing_at(USCC, REPORTED) == SUSPENDED


async def test_an_unknown_laboratory_has_no_standing_until_it_is_registered(laboratory: Laboratory) -> None:
    """The first look-up after the registration has the laboratory's standing and region."""
    matches = await laboratory.stores.lookup.find_subjects([], [(USCC, "R0")], NOW)
    assert (matches.standing_at(USCC, NOW), matches.region_of(USCC)) == (UNKNOWN, "")
    await register(laboratory)
    matches = await laboratory.stores.lookup.find_subjects([], [(USCC, "R0")], NOW)
    assert (matches.standing_at(USCC, NOW), matches.region_of(USCC)) == (AUTHORIZED, "220500")
