"""A replay gets the current answer: a stored person is a duplicate, and no other person is acknowledged as one.

An upload_id that is used again for other people would otherwise have them acknowledged and lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from hutong.results.v1 import upload_pb2

from services.domain.errors import InvalidArgument
from services.domain.instant import DAY, HOUR
from services.results.records.model import NEGATIVE
from services.results.records.partitions import month_of, month_start
from services.results.retention.purge import purge
from tests.support.databases import MakeUrl
from tests.support.results.factories import NOW, PENDING, REPORTED, USCC, make_lab, make_tube, make_tubes
from tests.support.results.operations import correct, recall, register, suspend
from tests.support.results.store import Laboratory, counts, open_laboratory, rejected

BEFORE = month_start(month_of(NOW)) - HOUR
"""In a month that the purges of these tests remove."""


@pytest.fixture
async def laboratory(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    async with open_laboratory(database_url("results")) as opened:
        await register(opened)
        yield opened


async def refusal(laboratory: Laboratory, tubes: Sequence[upload_pb2.Tube], offset: int = 0) -> dict[str, str]:
    """The metadata of the error that these tubes end with."""
    before = await laboratory.stores.uploads.get_upload(USCC, "u")
    with pytest.raises(InvalidArgument) as caught:
        await laboratory.send(tubes, offset)
    assert caught.value.reason == "UPLOAD_ID_REUSED"
    assert [violation.field for violation in caught.value.violations] == ["start.upload_id"]
    assert await laboratory.stores.uploads.get_upload(USCC, "u") == before
    return caught.value.metadata


@pytest.mark.parametrize("tubes", [make_tubes(3, 100), [make_tube(0, site="另一采样点")]], ids=["people", "content"])
async def test_an_id_used_again_is_refused(laboratory: Laboratory, tubes: list[upload_pb2.Tube]) -> None:
    """The id comes again with other people, or with the same people and other content. Nothing more is stored."""
    await laboratory.send(make_tubes(3))
    assert await refusal(laboratory, tubes) == {"field": "start.upload_id", "offset": "0"}
    assert await laboratory.numbers() == ["R0", "R1", "R2"]


async def test_one_stranger_among_replayed_people_is_found(laboratory: Laboratory) -> None:
    """Wherever the batch begins and whatever new comes after; the error names the tube, and nothing is stored."""
    await laboratory.send(make_tubes(6))
    batch = [make_tube(3), make_tube(100), make_tube(5), make_tube(6)]
    assert (await refusal(laboratory, batch, 3))["offset"] == "4"
    assert await laboratory.numbers() == [f"R{person}" for person in range(6)]


async def test_people_stored_by_another_upload_are_duplicates(laboratory: Laboratory) -> None:
    """Persons of a duplicate are durable, so the promise of the acknowledgement is kept."""
    await laboratory.send(make_tubes(3))
    await laboratory.send(make_tubes(3, 10), upload_id="v")
    assert counts(await laboratory.send(make_tubes(3, 10))) == (3, 0, 3, 0)


async def test_a_rejection_is_repeated_whatever_is_stored_in_its_place(laboratory: Laboratory) -> None:
    """The rejection acknowledges no person. Persons that no tube of the first upload had belong to another upload."""
    await laboratory.send([make_tube(0), make_tube(1, region="999999")])
    assert rejected(await laboratory.send([make_tube(0), make_tube(7)])) == [(1, -1, ["REGION_UNKNOWN"])]
    bad_pool = make_tube(10, 3)
    bad_pool.persons[2].document.number = "410105186001010011"
    await laboratory.send([bad_pool], 2)
    assert (await refusal(laboratory, [make_tube(10)], 2))["offset"] == "2"


async def test_a_replay_reports_what_is_rejected_only_now(laboratory: Laboratory) -> None:
    """An id is used again for faulty people, and once for a tube that was rejected in part before."""
    bad_pool = make_tube(10, 3)
    bad_pool.persons[1].document.number = "410105186001010011"
    await laboratory.send([make_tube(0), bad_pool])
    answer = await laboratory.send([make_tube(50, region="999999"), make_tube(10, 3, region="999999")])
    assert rejected(answer) == [(0, -1, ["REGION_UNKNOWN"]), (1, -1, ["REGION_UNKNOWN"])]
    assert counts(answer) == (2, 0, 0, 4)


async def test_a_replay_after_revisions_is_a_replay(laboratory: Laboratory) -> None:
    """Corrected, recalled, a sampling record followed by its result: stored as it was sent, all of it."""
    tubes = [make_tube(0), make_tube(1), make_tube(2, outcome=PENDING), make_tube(3, outcome=PENDING)]
    await laboratory.send(tubes)
    await correct(laboratory, NEGATIVE, REPORTED - 5 * HOUR)
    await correct(laboratory, PENDING, REPORTED - 5 * HOUR, number="R3")
    await laboratory.send([make_tube(2), make_tube(3)], upload_id="results")
    assert counts(await laboratory.send(tubes)) == (4, 0, 4, 0)
    assert await recall(laboratory) == 4
    assert counts(await laboratory.send(tubes)) == (4, 0, 4, 0)


async def test_a_replay_after_a_purge_reports_what_is_removed(laboratory: Laboratory) -> None:
    """The removed result is no longer stored, and no answer says that it is."""
    tubes = [make_tube(0, reported=BEFORE), make_tube(1), make_tube(2, reported=BEFORE, region="999999")]
    await laboratory.send(tubes)
    purge(laboratory.database, BEFORE + HOUR, NOW)
    answer = await laboratory.send(tubes)
    assert counts(answer) == (3, 0, 1, 2)
    assert rejected(answer) == [(0, 0, ["BEFORE_HORIZON"]), (2, -1, ["REGION_UNKNOWN"])]


async def test_a_replay_under_a_new_standing_reports_it(laboratory: Laboratory) -> None:
    """The replay is answered as any upload under the new standing is."""
    await laboratory.send(make_tubes(2))
    await suspend(laboratory, REPORTED - DAY)
    suspended = await laboratory.stores.labs.get_lab(USCC)
    assert suspended.changes != make_lab().changes
    answer = await laboratory.send(make_tubes(2), lab=suspended)
    assert rejected(answer) == [(0, -1, ["LAB_NOT_AUTHORIZED"]), (1, -1, ["LAB_NOT_AUTHORIZED"])]
