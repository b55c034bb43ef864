"""SIGKILL to a real Results service at random points under load: no audit row of an answer that left is lost."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from pathlib import Path

import grpc
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from sqlalchemy import func, select

from services.audit.check import Report, check_audit
from services.audit.keys import AuditKeys
from services.audit.queries import find_events
from services.domain.document import canonical_document
from services.domain.subject import Pepper
from services.results.records.tables import results
from services.results.schema import audit as tables
from services.runtime.clock import SystemClock
from services.storage.engine import Database, open_database
from tests.support.databases import MakeUrl
from tests.support.ports import free_address
from tests.support.restartable import restartable, service_variables
from tests.support.results.factories import lab_to_register, make_document, make_tube
from tests.support.results.node import batch_of, start
from tests.support.waiting import TIMEOUT_SECONDS, random_instant, wait_until

ROUNDS, MOST_ROUNDS = 2, 20
"""A kill just after a seal leaves nothing unsealed. So further rounds follow until a kill has left unsealed rows."""
RECONNECT = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 50)]
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
PEPPER = Pepper(b"p" * 32)
KEYS = AuditKeys.of_secret(PEPPER.secret, "results")


class Worker:
    """Looks persons up and uploads their results, each person once, until it is stopped, whatever happens."""

    def __init__(self, address: str, first: int) -> None:
        self.answered: list[int] = []
        self._address = address
        self._next = first
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(TIMEOUT_SECONDS)

    def _work(self) -> None:
        with grpc.insecure_channel(self._address, options=RECONNECT) as channel:
            results, uploads = ResultsServiceStub(channel), UploadServiceStub(channel)
            while not self._stopped.is_set():
                self._next += 1
                request = LookupLatestRequest(document=make_document(self._next))
                frames = iter([start(f"u{self._next}"), batch_of([make_tube(self._next)])])
                with contextlib.suppress(grpc.RpcError):
                    results.LookupLatest(request, timeout=TIMEOUT_SECONDS, wait_for_ready=True)
                    self.answered.append(self._next)
                    list(uploads.UploadResults(frames, timeout=TIMEOUT_SECONDS))  # type: ignore[call-overload]


def subject_key(person: int) -> bytes:
    document = make_document(person)
    return PEPPER.subject_key(canonical_document(document.type, document.number, document.issuing_country))


def check(database: Database) -> Report:
    return database.read_long_now(check_audit, tables, KEYS)


def test_no_row_of_an_answer_that_left_is_lost(tmp_path: Path, database_url: MakeUrl) -> None:
    """A row of a change is there exactly if the change is. What was unsealed at a kill is named, then and later."""
    chance = random.Random(SEED)
    url = database_url("results")
    address = free_address()
    variables = service_variables(tmp_path, url, address)
    unsealed: list[str] = []
    with contextlib.closing(open_database(url)) as database:
        with restartable(tmp_path / "log", **variables) as services:
            services.start()
            with grpc.insecure_channel(address) as channel:
                lab = CreateLabRequest(lab=lab_to_register())
                LabServiceStub(channel).CreateLab(lab, wait_for_ready=True, timeout=TIMEOUT_SECONDS)
            workers = [Worker(address, first) for first in (0, 10_000, 20_000)]
            for number in range(1, MOST_ROUNDS + 1):
                count = sum(len(worker.answered) for worker in workers)
                wait_until(lambda least=count + 10: sum(len(one.answered) for one in workers) >= least)  # type: ignore[misc]
                random_instant(chance, 0.3)
                services.kill()
                found = check(database)
                assert found.faults == [], f"seed {SEED}"
                unsealed += found.unsealed
                services.start()
                if number >= ROUNDS and unsealed:
                    break
            for worker in workers:
                worker.stop()
            wait_until(lambda: check(database).unsealed == [])
        answered = [person for worker in workers for person in worker.answered]
        keys = [subject_key(person) for person in answered]
        reads = [
            row for row in database.read_now(find_events, tables, KEYS, keys, SystemClock().now()) if row.kind == 1
        ]
        assert len(reads) == len(answered), f"seed {SEED}"
        uploaded = select(func.sum(tables.rows.c.item_count)).where(tables.rows.c.method.endswith("/UploadResults"))
        stored = select(func.count()).select_from(results)
        assert database.read_long_now(lambda it: it.execute(uploaded).scalar()) == database.read_long_now(
            lambda it: it.execute(stored).scalar()
        )
        report = check(database)
        assert report.faults == []
        assert report.late, f"hardly killed under load, seed {SEED}: {unsealed}"
