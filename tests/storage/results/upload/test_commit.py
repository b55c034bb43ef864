"""Committing batches on both engines: what is stored and answered, and that a report is stored once."""

from __future__ import annotations

from typing import Any

import pytest
from hutong.results.v1 import upload_pb2
from sqlalchemy import delete

from services.domain.errors import NotFound, OutOfRange
from services.domain.instant import DAY, HOUR, MINUTE, to_timestamp
from services.results.records.bulk import PostgresqlBulk
from services.results.records.model import ACTIVE, SUPERSEDED
from services.results.records.tables import report_keys
from services.results.upload.claims import RemovedMeanwhile
from tests.support.databases import MakeUrl
from tests.support.results.factories import (
    ANTIGEN,
    NEGATIVE,
    PENDING,
    POOL_POSITIVE,
    POSITIVE,
    REPORTED,
    USCC,
    make_tube,
    make_tubes,
    subject_key,
)
from tests.support.results.store import Laboratory, counts, open_laboratory, rejected


async def test_a_first_batch_is_stored_as_it_was_sent(laboratory: Laboratory) -> None:
    acknowledgement = await laboratory.send([make_tube(0, 3, pool_size=5), make_tube(3)])
    assert counts(acknowledgement) == (2, 4, 0, 0)
    rows = await laboratory.rows("report_number", "subject_key", "tube_code", "pool_size", "outcome", "report_time")
    assert rows == [
        ("R0", subject_key(0), "T0", 5, NEGATIVE, REPORTED),
        ("R1", subject_key(1), "T0", 5, NEGATIVE, REPORTED),
        ("R2", subject_key(2), "T0", 5, NEGATIVE, REPORTED),
        ("R3", subject_key(3), "T3", 1, NEGATIVE, REPORTED),
    ]


async def test_the_same_report_is_a_duplicate_within_a_batch_and_across_uploads(laboratory: Laboratory) -> None:
    assert counts(await laboratory.send([make_tube(0), make_tube(0), make_tube(1)])) == (3, 2, 1, 0)
    assert counts(await laboratory.send([make_tube(1), make_tube(2)], 3)) == (5, 1, 1, 0)
    assert counts(await laboratory.send([make_tube(0), make_tube(3)], upload_id="v")) == (2, 1, 1, 0)
    assert await laboratory.numbers() == ["R0", "R1", "R2", "R3"]


async def test_other_content_is_a_conflict_within_a_batch_and_across_uploads(laboratory: Laboratory) -> None:
    """The first one stays. The other is rejected with a hint at CorrectResult and affects no other."""
    changed = make_tube(0, site="另一采样点")
    first = await laboratory.send([make_tube(0), changed, make_tube(1)])
    assert (counts(first), rejected(first)) == ((3, 2, 0, 1), [(1, 0, ["CONFLICT"])])
    second = await laboratory.send([make_tube(2), changed], upload_id="v")
    assert (counts(second), rejected(second)) == ((2, 1, 0, 1), [(1, 0, ["CONFLICT"])])
    assert await laboratory.rows("report_number", "sample_site") == [
        (f"R{person}", "东昌区第一采样点") for person in range(3)
    ]


async def test_a_number_of_another_laboratory_is_another_report(laboratory: Laboratory) -> None:
    await laboratory.send([make_tube(0)])
    found = await laboratory.stores.uploads.find_report_keys("91410100MA0000001X", ["R0"])
    assert found == {}
    assert set(await laboratory.stores.uploads.find_report_keys(USCC, ["R0", "R1"])) == {"R0"}


@pytest.mark.parametrize("days_later", [0, 40])
@pytest.mark.parametrize("split", ["one batch", "two batches", "two uploads"])
async def test_a_sampling_record_and_its_result_are_one_report(
    laboratory: Laboratory, split: str, days_later: int
) -> None:
    """Two revisions, wherever the result is filed: days later it lies in another month's partition."""
    sampled = REPORTED - days_later * DAY - 4 * HOUR
    pending = make_tube(0, outcome=PENDING, sampled=sampled)
    result = make_tube(0, sampled=sampled)
    if split == "one batch":
        assert counts(await laboratory.send([pending, make_tube(1), result])) == (3, 3, 0, 0)
    elif split == "two batches":
        position = laboratory.position()
        assert counts(await laboratory.send([pending, make_tube(1)], position=position)) == (2, 2, 0, 0)
        assert counts(await laboratory.send([result], 2, position=position)) == (3, 1, 0, 0)
    else:
        await laboratory.send([pending, make_tube(1)])
        assert counts(await laboratory.send([result], upload_id="v")) == (1, 1, 0, 0)
    expected = [("R0", 1, SUPERSEDED, PENDING, sampled), ("R0", 2, ACTIVE, NEGATIVE, REPORTED)]
    rows = await laboratory.rows("report_number", "revision", "state", "outcome", "reference_time")
    assert rows == [*expected, ("R1", 1, ACTIVE, NEGATIVE, REPORTED)]

    again = await laboratory.send([pending, result, make_tube(1)], upload_id="again")
    assert counts(again) == (3, 0, 3, 0), "both revisions sent again are duplicates"
    assert len(await laboratory.rows("report_number")) == 3

    newest = await laboratory.stores.lookup.get_result(USCC, "R0", None)
    first = await laboratory.stores.lookup.get_result(USCC, "R0", 1)
    assert [(one.revision, one.outcome) for one in (*newest.results, *first.results)] == [(2, NEGATIVE), (1, PENDING)]


def other_tubes() -> dict[str, upload_pb2.Tube]:
    """Return tubes that each differ from `make_tube()` in one field, by the field that a conflict names."""
    tubes = {name: make_tube() for name in ("tube_code", "specimen", "method", "persons[0].document.name")}
    tubes["tube_code"].tube_code = "another"
    tubes["specimen"].specimen = 0
    tubes["method"].method = 0
    tubes["persons[0].document.name"].persons[0].document.name = "另一人"
    tubes |= {
        "pool_size": make_tube(pool_size=5),
        "outcome": make_tube(outcome=POSITIVE),
        "sample_region": make_tube(region="220503"),
        "sample_site": make_tube(site="另一\\采样点"),
        "sample_time": make_tube(sampled=REPORTED - 5 * HOUR),
        "item": make_tube(item=ANTIGEN),
        "persons[0].document": make_tube(7),
    }
    tubes["persons[0].document"].persons[0].report_number = "R0"
    for name, moment in {"receive_time": -HOUR, "test_time": -HOUR, "report_time": MINUTE}.items():
        tubes[name] = make_tube()
        getattr(tubes[name], name).CopyFrom(to_timestamp(REPORTED + moment))
    return tubes


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_conflict_names_the_field_that_differs(laboratory: Laboratory, *, is_stored: bool) -> None:
    """Each report contradicts, in one field, a stored report or another report of the same batch."""
    others = other_tubes()
    if is_stored:
        await laboratory.send([make_tube()])
    batch = list(others.values()) if is_stored else [make_tube(), *others.values()]
    answer = await laboratory.send(batch, upload_id="v", items=("", ANTIGEN.removeprefix("items/")))
    faults = [(it.field, it.reason) for rejection in answer.rejections for it in rejection.violations]
    assert faults == [(field, "CONFLICT") for field in others]


async def test_a_result_follows_only_the_sampling_record_of_its_own_person(laboratory: Laboratory) -> None:
    """A second result, or a second sampling record with other content, is a conflict."""
    await laboratory.send([make_tube(0, outcome=PENDING), make_tube(1, outcome=PENDING)])
    stranger = make_tube(5)
    stranger.persons[0].report_number = "R0"
    other_sampling = make_tube(1, outcome=PENDING, site="另一采样点")
    acknowledgement = await laboratory.send([stranger, other_sampling, make_tube(0), make_tube(0, outcome=POSITIVE)], 2)
    assert rejected(acknowledgement) == [(index, 0, ["CONFLICT"]) for index in (0, 1, 3)]
    assert counts(acknowledgement) == (6, 1, 0, 3)


async def test_a_positive_pool_and_its_rechecks_are_reports_of_their_own(laboratory: Laboratory) -> None:
    pool = make_tube(0, 3, outcome=POOL_POSITIVE)
    rechecks = make_tubes(3)
    for person, recheck in enumerate(rechecks):
        recheck.outcome = POSITIVE if person == 1 else NEGATIVE
        recheck.persons[0].report_number = f"S{person}"
    assert counts(await laboratory.send([pool, *rechecks])) == (4, 6, 0, 0)
    assert await laboratory.rows("report_number", "outcome") == [
        *((f"R{person}", POOL_POSITIVE) for person in range(3)),
        ("S0", NEGATIVE),
        ("S1", POSITIVE),
        ("S2", NEGATIVE),
    ]


async def test_a_rejected_item_is_not_remembered_as_a_duplicate(laboratory: Laboratory) -> None:
    """An item that broke a rule or was in conflict is stored as new once it is corrected."""
    broken = make_tube(0, 2)
    broken.persons[1].document.number = "410105186001010011"
    assert counts(await laboratory.send([broken, make_tube(5, region="999999")])) == (2, 1, 0, 2)
    assert counts(await laboratory.send([make_tube(0, 2), make_tube(5)], 2)) == (4, 2, 1, 0)
    assert await laboratory.numbers() == ["R0", "R1", "R5"]


async def test_a_gap_is_out_of_range_and_leaves_no_trace(laboratory: Laboratory) -> None:
    with pytest.raises(OutOfRange) as caught:
        await laboratory.send([make_tube(0)], 1)
    assert (caught.value.reason, caught.value.metadata["committed_offset"]) == ("UPLOAD_GAP", "0")
    with pytest.raises(NotFound):
        await laboratory.stores.uploads.get_upload(USCC, "u")
    await laboratory.send([make_tube(0)])
    with pytest.raises(OutOfRange) as caught:
        await laboratory.send([make_tube(1)], 2)
    assert caught.value.metadata == {"committed_offset": "1", "offset": "2"}
    assert await laboratory.numbers() == ["R0"]


async def test_get_upload_adds_up_what_was_acknowledged(laboratory: Laboratory) -> None:
    position = laboratory.position()
    batches = [
        [make_tube(0, 3), make_tube(0, 3), make_tube(10, region="999999")],
        [make_tube(20), make_tube(0, 3, site="另一采样点")],
    ]
    offset, totals = 0, [0, 0, 0]
    for batch in batches:
        acknowledgement = await laboratory.send(batch, offset, position=position)
        offset = acknowledgement.committed_offset
        totals = [total + more for total, more in zip(totals, counts(acknowledgement)[1:], strict=True)]
    upload = await laboratory.stores.uploads.get_upload(USCC, "u")
    assert (upload.committed_offset, totals) == (5, [4, 3, 4])
    assert [upload.accepted_count, upload.duplicate_count, upload.rejected_count] == totals


async def test_a_replayed_batch_is_acknowledged_without_effect(laboratory: Laboratory) -> None:
    """Stored reports count as duplicates, rejections are repeated, and the upload's counters stay."""
    batch = [make_tube(0, 2), make_tube(5, 3, region="999999"), make_tube(0, 2, site="另一采样点")]
    first = await laboratory.send(batch)
    before = await laboratory.stores.uploads.get_upload(USCC, "u")
    again = await laboratory.send(batch)
    assert counts(first) == (3, 2, 0, 5)
    assert counts(again) == (3, 0, 2, 5)
    assert again.rejections == first.rejections
    assert await laboratory.stores.uploads.get_upload(USCC, "u") == before
    partly = await laboratory.send([*batch[1:], make_tube(9)], 1)
    assert counts(partly) == (4, 1, 0, 5)
    assert [rejection.tube_index for rejection in partly.rejections] == [0, 1, 1]


@pytest.mark.parametrize("found", ["find_keys", "hold_keys"])
async def test_a_report_removed_before_it_is_compared_is_validated_again(
    postgres_url: MakeUrl, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    """Retention removes its key after the claim failed: nothing is stored without one, and the next try claims it."""
    async with open_laboratory(postgres_url("results")) as laboratory:
        await laboratory.send([make_tube(0, outcome=PENDING)])
        look = getattr(PostgresqlBulk, found)

        def look_late(*arguments: Any) -> Any:
            with laboratory.database.engine.begin() as retention:
                retention.execute(delete(report_keys))
            return look(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(PostgresqlBulk, found, look_late)
            with pytest.raises(RemovedMeanwhile):
                await laboratory.send([make_tube(0)], upload_id="v")
        assert await laboratory.rows("report_number", "revision") == [("R0", 1)]
        assert counts(await laboratory.send([make_tube(0)], upload_id="v")) == (1, 1, 0, 0)
        assert set(await laboratory.stores.uploads.find_report_keys(USCC, ["R0"])) == {"R0"}
