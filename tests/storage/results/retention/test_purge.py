"""Retention: a purge removes old results with all that belongs to them, keeps a record, and lets none return."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hutong.results.v1 import upload_pb2
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, CorrectResultResponse
from hutong.type.v1.summary_period_pb2 import SUMMARY_PERIOD_UNSPECIFIED
from sqlalchemy import Connection, delete, event, select, text

from services.domain.errors import FailedPrecondition, NotFound, Unavailable
from services.domain.instant import DAY, HOUR, Instant
from services.results.corrections.model import Correction, Recall
from services.results.lookup.model import ResultQuery
from services.results.records.partitions import list_partitions, month_of, month_start
from services.results.records.tables import deletions
from services.results.retention import purge as purge_module
from services.results.retention.model import Deletion, PurgePace
from services.results.retention.purge import purge
from services.results.tables import metadata
from services.results.timeliness.model import Page, Question
from services.results.upload.dry_run import DryRun, DryRunBudget
from services.results.upload.tables import uploads
from services.storage.engine import open_database
from services.storage.idempotency import IdempotentRequest
from tests.support.databases import MakeUrl
from tests.support.results.factories import (
    NEGATIVE,
    NOW,
    PENDING,
    USCC,
    make_tube,
    make_tubes,
    subject_key,
    validate_batch,
)
from tests.support.results.store import Laboratory, counts, open_laboratory, rejected, remove_months
from tests.support.waiting import TIMEOUT_SECONDS

HORIZON = month_start(month_of(NOW))
"""1 August 2022, the beginning of a month, so that both engines remove the same results."""
BEFORE = HORIZON - HOUR
AFTER = HORIZON + HOUR
WRITERS = 4


def remove(laboratory: Laboratory, before: Instant = HORIZON, pace: PurgePace | None = None) -> Deletion:
    return purge(laboratory.database, before, NOW, pace, actor="local:operator")


def bare_tube(person: int, reported: Instant) -> upload_pb2.Tube:
    """Return a tube sampled long before the horizon, without other times, so that its report time can be corrected."""
    tube = make_tube(person, reported=reported, sampled=HORIZON - 9 * DAY)
    tube.ClearField("receive_time")
    tube.ClearField("test_time")
    return tube


async def rows_of(laboratory: Laboratory, *names: str) -> dict[str, int]:
    def work(connection: Connection) -> dict[str, int]:
        return {name: len(connection.execute(select(metadata.tables[name])).all()) for name in names}

    return await laboratory.database.read(work)


async def deletion_rows(laboratory: Laboratory) -> list[tuple[Any, ...]]:
    def work(connection: Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connection.execute(select(deletions))]

    return await laboratory.database.read(work)


def digest(*revisions: tuple[str, int]) -> str:
    """Return the hash as an operator computes it from a list of report numbers and revisions."""
    names = "".join(f"labs/{USCC}/results/{number}@{revision}\n" for number, revision in sorted(revisions))
    return hashlib.sha256(names.encode()).hexdigest()


async def correct(laboratory: Laboratory, number: str, sample: Instant | None, report: Instant | None) -> None:
    idempotent = IdempotentRequest(
        CorrectResultRequest(), CorrectResultResponse, lambda _: CorrectResultResponse(), NOW
    )
    await laboratory.stores.corrections.correct(
        Correction(USCC, number, NEGATIVE, sample, report, "a slip"), idempotent
    )


async def summarize_timeliness(laboratory: Laboratory, start: Instant, end: Instant) -> Page:
    """Summarise all laboratories of the country."""
    question = Question(start, end, HOUR, SUMMARY_PERIOD_UNSPECIFIED, NOW - DAY, NOW)
    return await laboratory.stores.timeliness.summarize_region("000000", [], question, None, 9)


async def test_all_that_belongs_to_old_reports_goes_and_the_rest_stays(laboratory: Laboratory) -> None:
    """The purge removes results, keys, reasons, uploads, rejections, delays and changes, and records results."""
    old = [make_tube(person, reported=BEFORE - person * DAY) for person in range(40)]
    await laboratory.send([*old, make_tube(99, region="999999")], upload_id="old", now=BEFORE)
    await correct(laboratory, "R3", BEFORE - 9 * DAY, None)
    await laboratory.send([make_tube(50, reported=AFTER), make_tube(51, reported=HORIZON)], upload_id="new")
    deletion = remove(laboratory)
    names = [(f"R{person}", 1) for person in range(40)] + [("R3", 2)]
    assert (deletion.horizon, deletion.result_count, deletion.digest) == (HORIZON, 41, digest(*names))
    assert await deletion_rows(laboratory) == [
        (deletion.deletion_id, HORIZON, 41, deletion.digest, NOW, "local:operator")
    ]
    assert await laboratory.numbers() == ["R50", "R51"]
    assert await rows_of(laboratory, "report_keys", "revision_reasons", "uploads", "upload_rejections") == {
        "report_keys": 2,
        "revision_reasons": 0,
        "uploads": 1,
        "upload_rejections": 0,
    }
    assert [row.key for row in (await summarize_timeliness(laboratory, 0, NOW)).rows] == [""]
    assert await rows_of(laboratory, "last_uploads") == {"last_uploads": 1}
    assert (await rows_of(laboratory, "delays"))["delays"] == 2


async def test_a_second_purge_finds_nothing_left(laboratory: Laboratory) -> None:
    """The second purge still keeps a record, as a purge of an empty store does."""
    assert remove(laboratory, HORIZON - 90 * DAY).result_count == 0
    await laboratory.send([make_tube(0, reported=BEFORE)])
    assert [remove(laboratory).result_count for _ in range(2)] == [1, 0]
    assert len(await deletion_rows(laboratory)) == 3


@pytest.mark.parametrize("dies_in", ["count_and_hash", "_complete_record", "_delete_keys", "_delete_rows"])
async def test_a_purge_that_was_killed_is_finished_by_the_next(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    """Nothing is removed without a complete record, at whichever step the purge dies."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    await laboratory.send([make_tube(person, reported=BEFORE) for person in range(5)])
    with monkeypatch.context() as patched:
        patched.setattr(purge_module, dies_in, die)
        with pytest.raises(KeyboardInterrupt):
            remove(laboratory)
    left = len(await laboratory.numbers())
    (_, _, found, *_) = (await deletion_rows(laboratory))[0]
    assert left == 5 or found == 5
    remove(laboratory)
    assert await laboratory.numbers() == []
    assert sum(each[2] for each in await deletion_rows(laboratory)) >= 5


async def test_removed_reports_are_refused(laboratory: Laboratory) -> None:
    """The upload and its dry run reject old reports with the reason, and accept younger ones."""
    old, pending = make_tube(0, reported=BEFORE), make_tube(1, outcome=PENDING, sampled=BEFORE)
    await laboratory.send([old])
    remove(laboratory)
    again = [old, make_tube(2, reported=HORIZON), pending]
    dry_run = DryRun(USCC, laboratory.stores.uploads, DryRunBudget(10))
    expected = await dry_run.compare(validate_batch(again, dialect=laboratory.dialect))
    sent = await laboratory.send(again, upload_id="v")
    for answer in (expected, sent):
        assert counts(answer) == (3, 1, 0, 2)
        assert rejected(answer) == [(0, 0, ["BEFORE_HORIZON"]), (2, 0, ["BEFORE_HORIZON"])]
        assert [rejection.violations[0].field for rejection in answer.rejections] == ["report_time", "sample_time"]
    replayed = await laboratory.send(again, upload_id="v")
    assert rejected(replayed) == rejected(sent)
    assert await laboratory.numbers() == ["R2"]


async def test_reads_before_the_horizon_say_so(laboratory: Laboratory) -> None:
    """A read of only removed times is refused. A read that reaches further returns the horizon."""
    await laboratory.send([make_tube(0, reported=BEFORE), make_tube(1, reported=AFTER)])
    lab, person = laboratory.stores.lookup.list_by_lab, laboratory.stores.lookup.list_by_subject
    assert (await lab(USCC, ResultQuery(), ("", 0), 9, NOW)).horizon is None
    remove(laboratory)
    for end in (HORIZON, BEFORE):
        query = ResultQuery(end_time=end)
        for ask in (
            partial(lab, USCC, query, ("", 0), 9, NOW),
            partial(person, [subject_key(0)], query, None, 9, NOW),
            partial(summarize_timeliness, laboratory, 0, end),
        ):
            with pytest.raises(FailedPrecondition) as caught:
                await ask()
            assert caught.value.reason == "BEFORE_HORIZON"
            assert caught.value.metadata == {"horizon": "2022-08-01T00:00:00+08:00"}
    for listing in (
        await lab(USCC, ResultQuery(end_time=HORIZON + 1), ("", 0), 9, NOW),
        await person([subject_key(0)], ResultQuery(start_time=BEFORE), None, 9, NOW),
    ):
        assert (list(listing.results), listing.horizon) == ([], HORIZON)


async def test_a_result_that_is_not_there_may_have_been_removed(laboratory: Laboratory) -> None:
    """The error names the horizon, unless a younger revision of the report is stored."""
    await laboratory.send([make_tube(0, reported=BEFORE), make_tube(1, reported=AFTER)])
    with pytest.raises(NotFound) as caught:
        await laboratory.stores.lookup.get_result(USCC, "R9", None)
    assert set(caught.value.metadata) == {"resource"}
    remove(laboratory)
    for number, revision, keys in (("R0", None, {"resource", "horizon"}), ("R1", 2, {"resource"})):
        with pytest.raises(NotFound) as caught:
            await laboratory.stores.lookup.get_result(USCC, number, revision)
        assert set(caught.value.metadata) == keys
        assert ("2022-08-01T00:00:00+08:00" in str(caught.value)) == ("horizon" in keys)


async def test_kept_revisions_of_a_report_revised_over_the_horizon_are_returned(laboratory: Laboratory) -> None:
    """The sampling record is removed and its report is kept."""
    await laboratory.send([make_tube(0, outcome=PENDING, sampled=BEFORE)])
    await laboratory.send([make_tube(0, reported=AFTER, sampled=BEFORE)], upload_id="v")
    remove(laboratory)
    assert (await laboratory.stores.lookup.get_result(USCC, "R0", None)).results[0].revision == 2
    with pytest.raises(NotFound) as caught:
        await laboratory.stores.lookup.get_result(USCC, "R0", 1)
    assert caught.value.metadata["horizon"] == "2022-08-01T00:00:00+08:00"


async def test_timeliness_returns_the_horizon_if_its_interval_begins_before_it(laboratory: Laboratory) -> None:
    await laboratory.send([make_tube(0, reported=BEFORE), make_tube(1, reported=AFTER)])
    assert (await summarize_timeliness(laboratory, BEFORE, NOW)).horizon is None
    remove(laboratory)
    assert (await summarize_timeliness(laboratory, BEFORE, NOW)).horizon == HORIZON
    assert (await summarize_timeliness(laboratory, HORIZON, NOW)).horizon is None


async def test_nothing_is_corrected_into_the_removed_past(laboratory: Laboratory) -> None:
    await laboratory.send([bare_tube(0, AFTER)])
    remove(laboratory)
    with pytest.raises(FailedPrecondition) as caught:
        await correct(laboratory, "R0", None, BEFORE)
    assert caught.value.reason == "BEFORE_HORIZON"
    assert await laboratory.rows("report_number", "revision") == [("R0", 1)]


async def test_a_report_corrected_to_before_the_horizon_cannot_come_back_as_it_was(laboratory: Laboratory) -> None:
    """The newest revision of the report is removed.

    An older one with a later report time is kept, and so is the key.
    """
    tube = bare_tube(0, AFTER)
    await laboratory.send([tube])
    await correct(laboratory, "R0", None, BEFORE)
    remove(laboratory)
    assert counts(await laboratory.send([tube], upload_id="v")) == (1, 0, 1, 0)
    with pytest.raises(FailedPrecondition) as caught:
        await correct(laboratory, "R0", None, BEFORE)
    assert caught.value.reason == "BEFORE_HORIZON"
    with pytest.raises(FailedPrecondition) as caught:
        await laboratory.stores.lookup.get_result(USCC, "R0", None)
    assert caught.value.reason == "BEFORE_HORIZON"
    assert (await laboratory.stores.lookup.get_result(USCC, "R0", 1)).results[0].reference_time == AFTER
    assert remove(laboratory, month_start((2022, 9))).result_count == 1
    assert (await rows_of(laboratory, "report_keys", "revision_reasons"))["report_keys"] == 0


async def test_uploads_go_on_during_a_purge_and_nothing_is_removed_unrecorded(laboratory: Laboratory) -> None:
    """The record includes all results acknowledged before the horizon was set. Later ones are refused."""
    begun = threading.Event()
    accepted: list[int] = []

    async def upload(writer: int) -> None:
        for batch in range(20):
            first = 1000 * writer + 10 * batch
            tubes = [make_tube(first, reported=BEFORE), make_tube(first + 1, reported=AFTER)]
            acknowledgement = await laboratory.send(tubes, upload_id=f"u{writer}-{batch}")
            accepted.append(acknowledgement.accepted_count)
            if batch == 3:
                begun.set()

    def remove_meanwhile() -> Deletion:
        begun.wait(TIMEOUT_SECONDS)
        return remove(laboratory, pace=PurgePace(step_size=7))

    deletion, *_ = await asyncio.gather(asyncio.to_thread(remove_meanwhile), *map(upload, range(WRITERS)))
    old_ones = sum(count == 2 for count in accepted)
    assert deletion.result_count == old_ones > 0
    assert len(await laboratory.numbers()) == WRITERS * 20


async def test_a_recall_during_a_purge_leaves_alone_what_is_counted(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The purge removes exactly what its record says. The recall takes back the rest."""
    from tests.support.results.operations import recall, register

    await register(laboratory)
    await laboratory.send([make_tube(person, reported=BEFORE) for person in range(3)] + [make_tube(3, reported=AFTER)])
    count_and_hash = purge_module.count_and_hash
    loop = asyncio.get_running_loop()
    recalled: list[int] = []

    def count_and_recall(connection: Connection, horizon: Instant) -> tuple[int, str]:
        counted = count_and_hash(connection, horizon)
        recalling = recall(laboratory, BEFORE - DAY, NOW)
        recalled.append(asyncio.run_coroutine_threadsafe(recalling, loop).result(TIMEOUT_SECONDS))
        return counted

    monkeypatch.setattr(purge_module, "count_and_hash", count_and_recall)
    deletion = await asyncio.to_thread(remove, laboratory)
    assert (deletion.result_count, recalled) == (3, [1])
    assert await laboratory.rows("report_number", "revision") == [("R3", 1), ("R3", 2)]


async def test_one_purge_at_a_time(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purge by a second process would count the same results. It is refused and leaves no record."""
    await laboratory.send([make_tube(0, reported=BEFORE)])
    count_and_hash = purge_module.count_and_hash
    refusals: list[Unavailable] = []

    def count_twice(connection: Connection, horizon: Instant) -> tuple[int, str]:
        second_process = open_database(laboratory.database.engine.url.render_as_string(hide_password=False))
        try:
            with pytest.raises(Unavailable) as caught:
                purge(second_process, HORIZON, NOW)
            refusals.append(caught.value)
        finally:
            second_process.close()
        return count_and_hash(connection, horizon)

    with monkeypatch.context() as patched:
        patched.setattr(purge_module, "count_and_hash", count_twice)
        remove(laboratory)
    assert [(refusal.reason, refusal.message) for refusal in refusals] == [
        ("OVERLOADED", "another purge is under way, or a legal hold is being put; wait for its end")
    ]
    assert [each[2] for each in await deletion_rows(laboratory)] == [1]
    remove(laboratory)


@pytest.mark.parametrize("table", ["uploads", "upload_rejections", "delays", "results_request_memory", "known_batches"])
async def test_related_rows_are_removed_in_short_steps(laboratory: Laboratory, table: str) -> None:
    """No statement removes more rows than a step has, and all old rows are removed."""
    removed: list[int] = []

    def watch(_connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        if statement.startswith(f"DELETE FROM {table} "):
            removed.append(context.rowcount if hasattr(context, "rowcount") else context.cursor.rowcount)

    for number in range(13):
        tubes = [make_tube(number, reported=BEFORE - number * HOUR), make_tube(99, region="999999")]
        await send_with_digest(laboratory, tubes, f"u{number}", number.to_bytes(16))
    for number in range(13):
        request = CorrectResultRequest(request_id=f"0192f0c1-0000-7000-8000-0000000000{number:02}", reason="x")
        idempotent = IdempotentRequest(request, CorrectResultResponse, lambda _: CorrectResultResponse(), BEFORE)
        await laboratory.stores.corrections.correct(
            Correction(USCC, f"R{number}", NEGATIVE, None, None, "a slip"), idempotent
        )
    event.listen(laboratory.database.engine, "after_cursor_execute", watch)
    remove(laboratory, pace=PurgePace(step_size=5))
    assert (sum(removed), max(removed)) == (13, 5)
    assert await rows_of(laboratory, table) == {table: 0}


async def send_with_digest(laboratory: Laboratory, tubes: list[upload_pb2.Tube], upload_id: str, digest: bytes) -> None:
    batch = replace(validate_batch(tubes, dialect=laboratory.dialect), digest=digest)
    await laboratory.stores.uploads.commit_batch(laboratory.position(upload_id), batch, BEFORE)


async def test_an_upload_of_a_removed_ones_id_begins_anew(laboratory: Laboratory) -> None:
    """The new upload has no rejections of the old one, even if a purge was stopped half way."""
    await laboratory.send([make_tube(0, region="999999"), make_tube(1, region="999999")], now=BEFORE)
    await laboratory.database.write(lambda connection: connection.execute(delete(uploads)))
    answer = await laboratory.send([make_tube(0), make_tube(1, region="999999")])
    assert (counts(answer), rejected(answer)) == ((2, 1, 0, 1), [(1, -1, ["REGION_UNKNOWN"])])


async def test_a_recall_of_removed_times_is_refused(laboratory: Laboratory) -> None:
    from tests.support.results.operations import register

    await register(laboratory)
    remove(laboratory)
    idempotent: IdempotentRequest[int, CorrectResultResponse] = IdempotentRequest(
        CorrectResultRequest(), CorrectResultResponse, lambda _: CorrectResultResponse(), NOW
    )
    for dry_run in (True, False):
        with pytest.raises(FailedPrecondition):
            await laboratory.stores.corrections.recall(Recall(USCC, 0, BEFORE, (), "x"), idempotent, dry_run=dry_run)


def partitions(laboratory: Laboratory) -> list[str]:
    return [partition.name for partition in laboratory.database.read_now(list_partitions)]


async def test_complete_months_are_dropped_and_a_running_service_notices(postgresql: Laboratory) -> None:
    """The month that contains the instant stays. A dropped month is not made again for a late upload."""
    remove_months(postgresql.database)
    for months in range(4):
        await postgresql.send([make_tube(months, reported=NOW - (1 + months * 31) * DAY)], upload_id=f"u{months}")
    assert partitions(postgresql) == ["results_2022_05", "results_2022_06", "results_2022_07", "results_2022_08"]
    deletion = remove(postgresql, NOW - 20 * DAY)
    assert (deletion.horizon, deletion.result_count) == (month_start((2022, 7)), 2)
    assert partitions(postgresql) == ["results_2022_07", "results_2022_08"]
    late = await postgresql.send([make_tube(9, reported=NOW - 60 * DAY), make_tube(10)], upload_id="late")
    assert rejected(late) == [(0, 0, ["BEFORE_HORIZON"])]
    async with open_laboratory(postgresql.database.engine.url.render_as_string(hide_password=False)) as second_process:
        await second_process.send([make_tube(11, reported=NOW - 60 * DAY)], upload_id="later")
    assert partitions(postgresql) == ["results_2022_07", "results_2022_08"]


async def test_a_month_that_is_being_read_is_dropped_later(postgresql: Laboratory) -> None:
    """Readers do not wait behind the purge. It tries again, and fails if the month is still being read."""
    pace = PurgePace(drop_tries=1, drop_pause=0.0)
    remove_months(postgresql.database)
    await postgresql.send([make_tube(0, reported=BEFORE)])
    with postgresql.database.engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM results_2022_07"))
        with pytest.raises(Unavailable) as caught:
            remove(postgresql, pace=pace)
    assert caught.value.reason == "OVERLOADED"
    assert partitions(postgresql) == ["results_2022_07"]
    remove(postgresql)
    assert partitions(postgresql) == []


async def test_months_are_made_ahead_and_once(postgresql: Laboratory) -> None:
    """The current month and the next are made, also at the end of a year."""
    remove_months(postgresql.database)
    for _ in range(2):
        await postgresql.stores.partitions.prepare_ahead()
    assert partitions(postgresql) == ["results_2022_08", "results_2022_09"]
    postgresql.clock.advance(month_start((2022, 12)) - NOW)
    await postgresql.stores.partitions.prepare_ahead()
    assert partitions(postgresql)[2:] == ["results_2022_12", "results_2023_01"]


async def test_sqlite_removes_by_the_instant(sqlite_url: MakeUrl) -> None:
    """SQLite has no partitions, so a purge deletes rows in many steps."""
    async with open_laboratory(sqlite_url("results")) as laboratory:
        await laboratory.send([make_tube(person, reported=NOW - person * HOUR) for person in range(60)])
        deletion = remove(laboratory, NOW - 20 * HOUR)
        assert (deletion.horizon, deletion.result_count) == (NOW - 20 * HOUR, 39)
        assert sorted(await laboratory.numbers()) == sorted(f"R{person}" for person in range(21))
        await laboratory.send(make_tubes(1, 100), upload_id="v")
