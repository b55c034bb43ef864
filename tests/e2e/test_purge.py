"""`hutongd purge` beside a running service: months made ahead, old ones removed, a record, and an honest service."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.type.interval_pb2 import Interval
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.results_service_pb2 import ListResultsRequest, ListResultsResponse
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.results.v1.upload_service_pb2 import UploadResultsResponse
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from sqlalchemy import text

from services.__main__ import run
from services.domain.instant import DAY, HOUR, Instant, to_timestamp
from services.results.records.partitions import list_partitions, month_after, month_of, partition_name
from services.runtime.clock import SystemClock
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.processes import daemon, hutongd
from tests.support.results.factories import LAB_NAME, lab_to_register, make_tube
from tests.support.results.node import batch_of, start
from tests.support.secrets import write_secret
from tests.support.waiting import TIMEOUT_SECONDS

OLD = 70 * DAY
KEPT = "30d"


class Node:
    """A running Results service, as a laboratory sees it."""

    def __init__(self, address: str, now: Instant) -> None:
        self._channel = grpc.insecure_channel(address)
        self._now = now

    def register(self) -> None:
        LabServiceStub(self._channel).CreateLab(
            CreateLabRequest(lab=lab_to_register()), wait_for_ready=True, timeout=TIMEOUT_SECONDS
        )

    def upload(self, upload_id: str, *ages: int) -> UploadResultsResponse:
        """One report of each age, numbers R0, R1 and so on."""
        tubes = [make_tube(place, reported=self._now - age) for place, age in enumerate(ages)]
        frames = [start(upload_id), batch_of(tubes)]
        (answer,) = UploadServiceStub(self._channel).UploadResults(iter(frames), timeout=TIMEOUT_SECONDS)  # type: ignore[attr-defined]
        return answer

    def listed(self, **times: Any) -> ListResultsResponse:
        return ResultsServiceStub(self._channel).ListResults(
            ListResultsRequest(lab=LAB_NAME, **times), timeout=TIMEOUT_SECONDS
        )

    def close(self) -> None:
        self._channel.close()


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    database = open_database(url)
    try:
        return database.read_now(lambda connection: [tuple(row) for row in connection.execute(text(statement))])
    finally:
        database.close()


def test_old_results_are_removed_beside_a_running_service(tmp_path: Path, database_url: MakeUrl) -> None:
    """The printed deletion record equals the stored one.

    The service answers with the horizon and refuses old uploads.
    """
    url, now = database_url("results"), SystemClock().now()
    pepper = write_secret(tmp_path / "pepper")
    variables = {"data_dir": str(tmp_path), "results_database_url": url, "pepper_file": str(pepper)}
    with daemon("serve", "results", **variables, results_address="127.0.0.1:0", upload_workers="0") as service:
        node = Node(service.address, now)
        try:
            node.register()
            assert node.upload("first", OLD, OLD + DAY, HOUR).accepted_count == 3
            done = hutongd("purge", "--older-than", KEPT, **variables)
            assert done.returncode == 0, done.stderr
            ((deletion_id, horizon, count, digest, _, actor),) = query(url, "SELECT * FROM deletions")
            assert actor.startswith("local:")
            shown = dict(re.findall(r"(?m)^ *(deletion|.*?)  +(\S+)$", done.stdout.replace("deletion ", "deletion  ")))
            assert shown == {
                "deletion": deletion_id,
                "everything reported before": shown["everything reported before"],
                "results removed": str(count),
                "SHA-256 of their names": digest,
                "results report_keys": "2",
                "results changes.reports": "2",
                "results delays": "2",
                "results known_batches": "1",
            }
            assert count == 2
            assert datetime.fromisoformat(shown["everything reported before"]).timestamp() * 1_000_000 == horizon
            left = node.listed()
            assert [result.report_number for result in left.test_results] == ["R2"]
            assert left.retention_start_time == to_timestamp(horizon)
            again = node.upload("again", OLD, OLD + DAY, HOUR)
            assert (again.rejected_count, again.duplicate_count) == (2, 1)
            with pytest.raises(grpc.RpcError) as caught:
                node.listed(report_interval=Interval(end_time=to_timestamp(now - OLD)))
            assert error_info(caught.value).reason == "BEFORE_HORIZON"  # type: ignore[arg-type]
        finally:
            node.close()


def test_a_running_service_makes_months_ahead(tmp_path: Path, postgres_url: MakeUrl) -> None:
    """The partitions of this month and of the next are made before the first upload."""
    url = postgres_url("results")
    pepper = write_secret(tmp_path / "pepper")
    before = month_of(SystemClock().now())
    variables = {"data_dir": str(tmp_path), "results_database_url": url, "pepper_file": str(pepper)}
    with daemon("serve", "results", **variables, results_address="127.0.0.1:0", log_level="debug") as service:
        service.event("months ready")
    # The month may end while the service starts.
    months = (before, month_of(SystemClock().now()))
    database = open_database(url)
    try:
        made = {partition.name for partition in database.read_now(list_partitions)}
        assert any({partition_name(month), partition_name(month_after(month))} <= made for month in months)
    finally:
        database.close()


@pytest.mark.parametrize(
    "span", ["30", "0d", "x", "", "-3d", "²d", "36501d", "99999999d", "9" * 5000 + "h"], ids=lambda span: repr(span[:9])
)
def test_a_span_that_is_none_is_a_usage_error(span: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line says what is expected."""
    with pytest.raises(SystemExit) as ended:
        run(["purge", f"--older-than={span}"])
    assert ended.value.code == 2
    assert "argument --older-than: expected" in capsys.readouterr().err.splitlines()[-1]


def test_a_faulty_purge_is_refused_with_its_reason(tmp_path: Path) -> None:
    """A wrong argument is a usage error; a database that is not there a failure."""
    done = hutongd("purge", "--older-than=x", data_dir=str(tmp_path))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    done = hutongd("purge", "--older-than", "1d", results_database_url="postgresql://127.0.0.1:1/none")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
