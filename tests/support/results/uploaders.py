"""Laboratories that upload without end through the client library, and the rows that must be stored afterwards."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

from hutong.results.v1 import upload_pb2
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong_client.connection import connect
from hutong_client.retry import RetryPolicy
from hutong_client.upload import Batch, UploadSession
from sqlalchemy import Connection, select

from services.results.changelog.log import read_entries
from services.results.changelog.model import ChangeKind, Entry, Position
from services.results.records.model import ACTIVE, SUPERSEDED
from services.results.records.tables import report_keys, results
from services.results.upload.tables import uploads
from tests.support.results.factories import PENDING, USCC, lab_to_register, make_tube
from tests.support.waiting import TIMEOUT_SECONDS, wait_until

BATCH = 20
"""Tubes of a batch. The number is small, so that there are many commits in which the service can be killed."""
SECOND_FIRST = 10_000_000
"""The number of the second stream's first person, far above the first stream's last person."""


def work(first: int, count: int) -> list[upload_pb2.Tube]:
    """Return `count` tubes. Of each ten one is rejected, one is a sampling record, and the next is its result."""
    tubes = []
    for index in range(count):
        tube = make_tube(first + index)
        if index % 10 == 3:
            tube = make_tube(first + index + 1, outcome=PENDING)
        if index % 10 == 7:
            tube.sample_region = "999999"
        tubes.append(tube)
    return tubes


def expected_rows(first: int, count: int) -> Counter[tuple[str, int, int]]:
    """Return the (report number, revision, state) of every row that these tubes must leave stored."""
    rows: Counter[tuple[str, int, int]] = Counter()
    for index in range(count):
        number = f"R{first + index}"
        if index % 10 == 4:
            rows.update([(number, 1, SUPERSEDED), (number, 2, ACTIVE)])
        elif index % 10 not in (3, 7):
            rows[number, 1, ACTIVE] += 1
    return rows


class Uploader(threading.Thread):
    """One upload by the client library. It gets no signal when the service ends or restarts."""

    def __init__(
        self,
        address: str,
        upload_id: str,
        first: int,
        acknowledgements: threading.Semaphore,
        uscc: str,
        rest_seconds: float,
    ) -> None:
        super().__init__(name=upload_id, daemon=True)
        self.failure: BaseException | None = None
        self.acknowledged = 0
        self.breaks = 0
        """How often the upload continued after a failure."""
        self._address = address
        self._first = first
        self._lab = f"labs/{uscc}"
        self._acknowledgements = acknowledgements
        self._enough = threading.Event()
        self._pause = threading.Event()
        self._rest_seconds = rest_seconds

    def run(self) -> None:
        retry_policy = RetryPolicy(
            timedelta(seconds=2 * TIMEOUT_SECONDS), sleep=lambda wait: self._pause.wait(min(wait, 0.05))
        )
        try:
            with connect(results=self._address) as connection:
                session = UploadSession(
                    connection.uploads, self._lab, self.name, retry_policy=retry_policy, on_retry=self._count_break
                )
                for acknowledged in session.send(self._batches()):
                    assert acknowledged.offset == self.acknowledged
                    self.acknowledged += len(acknowledged.batch.tubes)
                    self._acknowledgements.release()
        except BaseException as error:
            self.failure = error
            raise

    def finish(self) -> None:
        """End the upload after the batches under way, and wait until all are acknowledged."""
        self._enough.set()
        self.join(TIMEOUT_SECONDS)
        assert not self.is_alive()
        assert self.failure is None

    def _batches(self) -> Iterator[Batch[None]]:
        for start in itertools.count(self._first, BATCH):
            if self._enough.is_set():
                return
            yield Batch(work(start, BATCH), None)
            self._pause.wait(self._rest_seconds)

    def _count_break(self, _error: Exception, _seconds: float) -> None:
        self.breaks += 1


class Laboratories:
    """Two streams, and a third that sends the reports of the first again at the same time.

    Persons are numbered from `first`. Each stream rests between two batches, by default not at all.
    """

    def __init__(self, address: str, first: int = 0, uscc: str = USCC, rest_seconds: float = 0.0) -> None:
        self._address = address
        self._uscc = uscc
        self._first = first
        self._acknowledgements = threading.Semaphore(0)
        starts = {"first": first, "second": SECOND_FIRST + first, "first-again": first}
        self.uploaders = [
            Uploader(address, name, first, self._acknowledgements, uscc, rest_seconds) for name, first in starts.items()
        ]

    def start(self) -> None:
        """Wait for the service, register the laboratory, and begin all uploads."""
        with connect(results=self._address) as connection:
            connection.labs.CreateLab(
                CreateLabRequest(lab=lab_to_register(self._uscc)), timeout=TIMEOUT_SECONDS, wait_for_ready=True
            )
        for uploader in self.uploaders:
            uploader.start()

    def wait_for_batches(self, count: int) -> None:
        """Wait until `count` more batches are acknowledged, over all uploads."""
        # Earlier acknowledgements do not count: the uploads may not have gone on since.
        while self._acknowledgements.acquire(blocking=False):
            pass
        for _ in range(count):
            assert self._acknowledgements.acquire(timeout=TIMEOUT_SECONDS), self.failures() or "no progress"

    def wait_for_breaks(self) -> None:
        """Wait until every upload fails once more and goes on."""
        before = [uploader.breaks for uploader in self.uploaders]
        wait_until(lambda: all(it.breaks > count for it, count in zip(self.uploaders, before, strict=True)))

    def finish(self) -> None:
        """End all uploads, which must succeed."""
        for uploader in self.uploaders:
            uploader.finish()

    def failures(self) -> Sequence[BaseException]:
        """Return the errors of the uploads that failed."""
        return [it.failure for it in self.uploaders if it.failure]

    def check(self, connection: Connection) -> None:
        """Check that exactly the acknowledged tubes of the laboratory are stored: rows, keys, log and counters."""
        first, second, again = (uploader.acknowledged for uploader in self.uploaders)
        keys = report_keys
        wanted = expected_rows(self._first, max(first, again))
        wanted += expected_rows(SECOND_FIRST + self._first, second)
        own = select(results.c.report_number, results.c.revision, results.c.state).where(results.c.lab == self._uscc)
        stored = connection.execute(own)
        assert Counter(tuple(row) for row in stored) == wanted
        newest = connection.execute(select(keys.c.report_number, keys.c.revision).where(keys.c.lab == self._uscc))
        assert {tuple(row) for row in newest} == {
            (number, revision) for number, revision, state in wanted if state == ACTIVE
        }
        logged: Counter[tuple[str, int]] = Counter()
        entries = all_entries(connection)
        of_results = [entry for entry in entries if entry.kind == ChangeKind.RESULTS and entry.lab == self._uscc]
        for entry in of_results:
            logged.update((number, revision) for number, revision in entry.reports)
        assert logged == Counter((number, revision) for number, revision, _ in wanted)
        counted = {
            row.upload_id: (row.committed_offset, row.accepted_count, row.duplicate_count, row.rejected_count)
            for row in connection.execute(select(uploads))
        }
        assert counted["second"] == (second, good(second), 0, refused(second))
        of_first, of_again = counted["first"], counted["first-again"]
        assert (of_first[0], of_first[3]) == (first, refused(first))
        assert (of_again[0], of_again[3]) == (again, refused(again))
        assert of_first[1] + of_again[1] == good(max(first, again))
        assert of_first[2] + of_again[2] == good(min(first, again))


def refused(tubes: int) -> int:
    """Return how many of the first `tubes` tubes are rejected."""
    return tubes // 10


def good(tubes: int) -> int:
    """Return how many of the first `tubes` tubes are stored."""
    return tubes - refused(tubes)


def all_entries(connection: Connection) -> Iterator[Entry]:
    """Yield the whole change log, as a watcher reads it."""
    cursor: dict[int, Position] = {}
    while entries := read_entries(connection, cursor):
        for entry in entries:
            assert entry.sequence == cursor.get(entry.writer_id, Position(0)).sequence + 1, (
                "a writer's numbers have no gap"
            )
            cursor[entry.writer_id] = Position(entry.sequence)
            yield entry
