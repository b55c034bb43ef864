"""SIGKILL to a real Results service at random points under load: nothing acknowledged is lost, nothing is stored twice.

KILL_ROUNDS says how often it is killed on each engine; KILL_SEED repeats a run.
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
from hutong.results.v1 import upload_pb2
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.upload_service_pb2 import GetUploadRequest, UploadResultsRequest
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from sqlalchemy import Connection, select

from services.results import tables
from services.results.changes import Entry, read_entries
from services.results.model import ACTIVE, SUPERSEDED
from services.storage.engine import open_database
from tests.databases import MakeUrl
from tests.labwork import LAB_NAME, PENDING, lab_to_register, make_tube
from tests.rpc.daemon import PATIENCE_SECONDS, daemon

ROUNDS = int(os.environ.get("KILL_ROUNDS", "3"))
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
BATCH = 20
MOST_BATCHES = 30
"""At most so many batches are acknowledged between two kills."""


def work(first: int, count: int) -> list[upload_pb2.Tube]:
    """So many tubes: of ten one is refused, one is a sampling record and the next its result."""
    tubes = []
    for place in range(count):
        tube = make_tube(first + place)
        if place % 10 == 3:
            tube = make_tube(first + place + 1, outcome=PENDING)
        if place % 10 == 7:
            tube.sample_region = "999999"
        tubes.append(tube)
    return tubes


def expected_rows(first: int, count: int) -> Counter[tuple[str, int, int]]:
    """(Report number, revision, state) of what such work leaves stored."""
    rows: Counter[tuple[str, int, int]] = Counter()
    for place in range(count):
        number = f"R{first + place}"
        if place % 10 == 4:
            rows.update([(number, 1, SUPERSEDED), (number, 2, ACTIVE)])
        elif place % 10 not in (3, 7):
            rows[number, 1, ACTIVE] += 1
    return rows


class Uploader(threading.Thread):
    """A laboratory's client: whenever a service is there it asks how far it came, and goes on from there."""

    def __init__(self, upload_id: str, tubes: Sequence[upload_pb2.Tube], acknowledgements: threading.Semaphore) -> None:
        super().__init__(name=upload_id, daemon=True)
        self.addresses: queue.Queue[str] = queue.Queue()
        self.failure: BaseException | None = None
        self._upload_id = upload_id
        self._tubes = tubes
        self._acknowledgements = acknowledgements
        self._acknowledged = 0

    def run(self) -> None:
        try:
            while self._acknowledged < len(self._tubes):
                address = self.addresses.get(timeout=PATIENCE_SECONDS)
                with grpc.insecure_channel(address) as channel, contextlib.suppress(grpc.RpcError):
                    self._go_on(UploadServiceStub(channel))
        except BaseException as error:
            self.failure = error
            raise

    def _go_on(self, uploads: UploadServiceStub) -> None:
        committed = self._committed(uploads)
        assert committed >= self._acknowledged, f"{self._acknowledged} were acknowledged, {committed} are there"
        for response in uploads.UploadResults(self._frames(committed)):
            assert response.committed_offset > self._acknowledged
            self._acknowledged = response.committed_offset
            self._acknowledgements.release()

    def _committed(self, uploads: UploadServiceStub) -> int:
        try:
            request = GetUploadRequest(name=f"{LAB_NAME}/uploads/{self._upload_id}")
            return uploads.GetUpload(request, timeout=PATIENCE_SECONDS).upload.committed_offset
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            return 0

    def _frames(self, offset: int) -> Iterator[UploadResultsRequest]:
        yield UploadResultsRequest(start=upload_pb2.UploadStart(lab=LAB_NAME, upload_id=self._upload_id))
        for start in range(offset, len(self._tubes), BATCH):
            batch = upload_pb2.TubeBatch(offset=start, tubes=self._tubes[start : start + BATCH])
            yield UploadResultsRequest(batch=batch)


def test_nothing_acknowledged_is_lost_and_nothing_doubled(tmp_path: Path, database_url: MakeUrl) -> None:
    """Two laboratories' streams and a third that sends the first one's reports again at the same time."""
    chance = random.Random(SEED)
    url = database_url("results")
    pepper = tmp_path / "pepper-of-tests"
    pepper.write_bytes(b"p" * 32)
    variables = {
        "results_address": "127.0.0.1:0",
        "results_database_url": url,
        "data_dir": str(tmp_path),
        "pepper_file": str(pepper),
        "upload_workers": "0",
    }
    count = (ROUNDS + 1) * MOST_BATCHES // 2 * BATCH
    acknowledgements = threading.Semaphore(0)
    uploaders = [
        Uploader("first", work(0, count), acknowledgements),
        Uploader("second", work(count, count), acknowledgements),
        Uploader("first-again", work(0, count), acknowledgements),
    ]
    for kill in range(ROUNDS + 1):
        with daemon("serve", "results", **variables) as server:
            address = server.address
            if kill == 0:
                with grpc.insecure_channel(address) as channel:
                    LabServiceStub(channel).CreateLab(CreateLabRequest(lab=lab_to_register()), wait_for_ready=True)
                for uploader in uploaders:
                    uploader.start()
            for uploader in uploaders:
                uploader.addresses.put(address)
            if kill < ROUNDS:
                for _ in range(chance.randrange(1, MOST_BATCHES)):
                    assert acknowledgements.acquire(timeout=PATIENCE_SECONDS), f"no progress, seed {SEED}"
                server.process.kill()
                server.process.wait(PATIENCE_SECONDS)
            else:
                for uploader in uploaders:
                    uploader.join(PATIENCE_SECONDS)
    assert [uploader.failure for uploader in uploaders] == [None] * 3, f"seed {SEED}"
    assert not any(uploader.is_alive() for uploader in uploaders)
    with contextlib.closing(open_database(url)) as database:
        database.read_now(check_database, count)


def check_database(connection: Connection, count: int) -> None:
    """Exactly what was sent is there: rows, keys, the change log, and counters that add up."""
    results, keys, uploads = tables.results, tables.report_keys, tables.uploads
    wanted = expected_rows(0, count) + expected_rows(count, count)
    stored = connection.execute(select(results.c.report_number, results.c.revision, results.c.state))
    assert Counter(tuple(row) for row in stored) == wanted, f"seed {SEED}"
    newest = connection.execute(select(keys.c.report_number, keys.c.revision))
    assert {tuple(row) for row in newest} == {
        (number, revision) for number, revision, state in wanted if state == ACTIVE
    }
    logged: Counter[tuple[str, int]] = Counter()
    for entry in all_entries(connection):
        logged.update((number, revision) for number, revision in entry.reports)
    assert logged == Counter((number, revision) for number, revision, _ in wanted), f"seed {SEED}"
    counters = {row.upload_id: row for row in connection.execute(select(uploads))}
    refused, good = count // 10, count - count // 10
    second = counters["second"]
    assert (second.committed_offset, second.accepted_count, second.duplicate_count, second.rejected_count) == (
        count,
        good,
        0,
        refused,
    )
    both = [counters["first"], counters["first-again"]]
    assert [upload.rejected_count for upload in both] == [refused, refused]
    assert sum(upload.accepted_count for upload in both) == good
    assert sum(upload.duplicate_count for upload in both) == good


def all_entries(connection: Connection) -> Iterator[Entry]:
    """The whole change log, as a watcher reads it."""
    cursor: dict[int, int] = {}
    while entries := read_entries(connection, cursor):
        for entry in entries:
            assert entry.sequence == cursor.get(entry.writer_id, 0) + 1, "a writer's numbers have no gap"
            cursor[entry.writer_id] = entry.sequence
            yield entry
