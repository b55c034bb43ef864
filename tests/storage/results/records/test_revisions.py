"""Revisions: sampling records, pools, rechecks and corrections, none of which lets a report count for longer."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hutong.results.v1 import upload_pb2

from services.domain.errors import HutongError, InvalidArgument, NotFound
from services.domain.instant import DAY, HOUR, to_timestamp
from services.results.records.model import ACTIVE, SUPERSEDED
from services.results.records.tables import revision_reasons
from tests.support.results.factories import (
    LAB_NAME,
    NEGATIVE,
    NOW,
    OTHER_USCC,
    PENDING,
    POOL_POSITIVE,
    POSITIVE,
    REPORTED,
    USCC,
    make_tube,
    subject_key,
)
from tests.support.results.operations import correct
from tests.support.results.store import Laboratory, counts, rejected

REQUEST_ID = "0192f0c1-0000-7000-8000-00000000000{}"


async def revisions(laboratory: Laboratory, *columns: str) -> list[tuple[Any, ...]]:
    return await laboratory.rows("report_number", "revision", "state", *columns)


async def newest(laboratory: Laboratory, person: int) -> list[tuple[str, int, int]]:
    (results,) = (await laboratory.stores.lookup.find_subjects([subject_key(person)], [], NOW)).by_subject
    return [(result.report_number, result.revision, result.outcome) for result in results]


async def test_a_sampling_record_and_its_result_are_one_report_with_two_revisions(laboratory: Laboratory) -> None:
    """The two revisions may lie in different months. Sending either again changes nothing."""
    sampled = REPORTED - 15 * DAY
    pending = make_tube(0, outcome=PENDING, sampled=sampled)
    result = make_tube(0, sampled=sampled)
    for index, (tube, accepted) in enumerate([(pending, 1), (result, 1), (pending, 0), (result, 0), (pending, 0)]):
        acknowledgement = await laboratory.send([tube], upload_id=f"u{index}", now=NOW + index)
        assert counts(acknowledgement) == (1, accepted, 1 - accepted, 0)
    assert await revisions(laboratory, "outcome", "reference_time", "upload_time") == [
        ("R0", 1, SUPERSEDED, PENDING, sampled, NOW),
        ("R0", 2, ACTIVE, NEGATIVE, REPORTED, NOW + 1),
    ]
    assert await newest(laboratory, 0) == [("R0", 2, NEGATIVE)]


async def test_a_result_of_another_person_is_no_result_of_the_record(laboratory: Laboratory) -> None:
    await laboratory.send([make_tube(0, outcome=PENDING)])
    other = make_tube(1)
    other.persons[0].report_number = "R0"
    assert rejected(await laboratory.send([other], upload_id="v")) == [(0, 0, ["CONFLICT"])]
    assert await newest(laboratory, 1) == []


async def test_a_positive_pool_waits_for_its_single_tubes(laboratory: Laboratory) -> None:
    """Each member's pool report stays as it is. A recheck is a report of its own, in a tube of its own."""
    pool = make_tube(0, 5, outcome=POOL_POSITIVE, reported=REPORTED - 6 * HOUR)
    await laboratory.send([pool])
    rechecks = []
    for person in range(5):
        tube = make_tube(person, outcome=POSITIVE if person == 3 else NEGATIVE)
        tube.persons[0].report_number = f"S{person}"
        tube.tube_code = f"S{person}"
        rechecks.append(tube)
    assert counts(await laboratory.send(rechecks, upload_id="recheck")) == (5, 5, 0, 0)
    for person in range(5):
        assert await newest(laboratory, person) == [
            (f"S{person}", 1, POSITIVE if person == 3 else NEGATIVE),
            (f"R{person}", 1, POOL_POSITIVE),
        ]


async def test_a_correction_supersedes_and_history_stays(laboratory: Laboratory) -> None:
    """A correction moves a report to another month and back. Other fields are unchanged, and reasons are kept."""
    tube = make_tube(0, outcome=POSITIVE, sampled=REPORTED - 30 * DAY)
    tube.ClearField("receive_time")
    tube.ClearField("test_time")
    await laboratory.send([tube])
    (first,) = (await laboratory.stores.lookup.get_result(USCC, "R0", None)).results
    july = REPORTED - 20 * DAY
    second = await correct(laboratory, NEGATIVE, None, july, now=NOW + 1)
    third = await correct(laboratory, POSITIVE, None, REPORTED, now=NOW + 2)
    assert second == first._replace(
        revision=2, outcome=NEGATIVE, report_time=july, reference_time=july, upload_time=NOW + 1
    )
    for revision, expected in enumerate(
        (first._replace(state=SUPERSEDED), second._replace(state=SUPERSEDED), third), 1
    ):
        assert (await laboratory.stores.lookup.get_result(USCC, "R0", revision)).results == [expected]
    assert (await laboratory.stores.lookup.get_result(USCC, "R0", None)).results == [third]
    hidden = await laboratory.rows("name_hash", "key_version", "subject_key")
    assert len(hidden) == 3
    assert len(set(hidden)) == 1
    reasons = await laboratory.database.read(lambda connection: connection.execute(revision_reasons.select()).all())
    assert sorted(tuple(row) for row in reasons) == [
        (USCC, "R0", 2, "a slip of the pen", NOW + 1, LAB_NAME, None),
        (USCC, "R0", 3, "a slip of the pen", NOW + 2, LAB_NAME, None),
    ]


async def test_what_a_correction_follows_is_a_duplicate_for_ever(laboratory: Laboratory) -> None:
    """Other content is a conflict, even the content of the correction. No upload overrides a correction."""
    await laboratory.send([make_tube(0, outcome=POSITIVE)])
    await correct(laboratory)
    assert counts(await laboratory.send([make_tube(0, outcome=POSITIVE)], upload_id="v")) == (1, 0, 1, 0)
    assert rejected(await laboratory.send([make_tube(0)], upload_id="w")) == [(0, 0, ["CONFLICT"])]
    assert await newest(laboratory, 0) == [("R0", 2, NEGATIVE)]


async def test_an_unknown_report_and_one_of_another_laboratory_are_not_found(laboratory: Laboratory) -> None:
    await laboratory.send([make_tube(0)])
    for number, lab in (("R1", USCC), ("R0", OTHER_USCC)):
        with pytest.raises(NotFound):
            await correct(laboratory, number=number, lab=lab)


async def test_a_refused_correction_leaves_no_trace(laboratory: Laboratory) -> None:
    """The request id of the refused correction can be used again for the corrected call."""
    await laboratory.send([make_tube(0)])
    with pytest.raises(InvalidArgument):
        await correct(laboratory, NEGATIVE, None, REPORTED + 1, request_id=REQUEST_ID.format(1))
    assert await revisions(laboratory) == [("R0", 1, ACTIVE)]
    assert await correct(laboratory, POSITIVE, request_id=REQUEST_ID.format(1)) is not None


async def test_a_request_id_corrects_once(laboratory: Laboratory) -> None:
    """One of four concurrent corrections with one id is written. Other content with the same id is refused."""
    await laboratory.send([make_tube(0, outcome=POSITIVE)])
    same = [correct(laboratory, request_id=REQUEST_ID.format(1)) for _ in range(4)]
    written = await asyncio.gather(*same)
    assert sum(each is not None for each in written) == 1
    with pytest.raises(InvalidArgument) as caught:
        await correct(laboratory, POSITIVE, request_id=REQUEST_ID.format(1))
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert await revisions(laboratory) == [("R0", 1, SUPERSEDED), ("R0", 2, ACTIVE)]


async def test_corrections_at_once_follow_one_another(laboratory: Laboratory) -> None:
    await laboratory.send([make_tube(0)])
    await asyncio.gather(*(correct(laboratory, POSITIVE if index % 2 else NEGATIVE) for index in range(8)))
    assert await revisions(laboratory) == [
        *(("R0", revision, SUPERSEDED) for revision in range(1, 9)),
        ("R0", 9, ACTIVE),
    ]


class Chance:
    """Makes random uploads and corrections of a few reports, with times a few hours around the right ones."""

    def __init__(self, laboratory: Laboratory, seed: int) -> None:
        self._laboratory = laboratory
        self._random = random.Random(seed)
        self._sent: list[upload_pb2.Tube] = []
        self._uploads = 0

    async def act(self) -> None:
        """Make one upload or correction, which may be refused."""
        await self._random.choice([self._upload, self._upload, self._replay, self._correct, self._correct])()

    def _hours(self) -> int:
        return self._random.randint(-3, 3) * HOUR

    async def _upload(self) -> None:
        outcome = self._random.choice([PENDING, NEGATIVE, NEGATIVE, POSITIVE])
        reported = REPORTED + self._hours() - 4 * HOUR
        tube = make_tube(self._random.randrange(3), outcome=outcome, reported=reported)
        tube.sample_time.CopyFrom(to_timestamp(REPORTED + self._hours() - 12 * HOUR))
        tube.ClearField("receive_time")
        tube.ClearField("test_time")
        self._sent.append(tube)
        await self._send(tube)

    async def _replay(self) -> None:
        if self._sent:
            await self._send(self._random.choice(self._sent))

    async def _send(self, tube: upload_pb2.Tube) -> None:
        self._uploads += 1
        await self._laboratory.send([tube], upload_id=f"u{self._uploads}")

    async def _correct(self) -> None:
        outcome = self._random.choice([PENDING, NEGATIVE, NEGATIVE, POSITIVE])
        sampled = self._random.choice([None, REPORTED + self._hours() - 12 * HOUR])
        reported = self._random.choice([None, REPORTED + self._hours() - 4 * HOUR])
        number = f"R{self._random.randrange(3)}"
        try:
            await correct(self._laboratory, outcome, sampled, reported, number=number)
        except HutongError as error:
            assert isinstance(error, InvalidArgument | NotFound), error  # noqa: PT017


@pytest.mark.parametrize("seed", range(6))
async def test_no_sequence_of_uploads_replays_and_corrections_lets_a_report_count_for_longer(
    laboratory: Laboratory, seed: int
) -> None:
    """No later revision of a negative report is negative with a later report time or sample time.

    One revision at a time counts, and the key points to the newest.
    """
    chance = Chance(laboratory, seed)
    for _ in range(50):
        await chance.act()
    reports: dict[str, list[Any]] = {}
    columns = ("report_number", "revision", "state", "outcome", "report_time", "sample_time")
    for number, *rest in await laboratory.rows(*columns):
        reports.setdefault(number, []).append(rest)
    assert reports
    for revised in reports.values():
        assert [revision for revision, *_ in revised] == list(range(1, len(revised) + 1))
        assert [state for _, state, *_ in revised] == [SUPERSEDED] * (len(revised) - 1) + [ACTIVE]
        for outcome in (NEGATIVE, PENDING):
            times = [
                (report_time or 0, sample_time) for _, _, said, report_time, sample_time in revised if said == outcome
            ]
            assert times == [
                (min(report for report, _ in times[: i + 1]), min(s for _, s in times[: i + 1]))
                for i in range(len(times))
            ]
        issued = [said != PENDING for _, _, said, *_ in revised]
        assert issued == sorted(issued), "an issued report never becomes a sampling record again"
