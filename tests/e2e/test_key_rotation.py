"""A change of the pepper through real processes: both are read, one after the other is written, the older one ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub

from services.command.key import end_rotation, key_status
from services.command.purge import purge_node
from services.domain.instant import HOUR, Instant
from services.runtime.clock import SystemClock
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.storage.migrate import upgrade
from tests.support.databases import MakeUrl
from tests.support.processes import daemon, hutongd
from tests.support.results.factories import lab_to_register, make_document, make_tube
from tests.support.results.node import batch_of, start
from tests.support.secrets import write_secret
from tests.support.waiting import TIMEOUT_SECONDS

PERSON = 1


class Node:
    """A running Results service, as a laboratory and a gate see it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def register(self) -> None:
        request = CreateLabRequest(lab=lab_to_register())
        LabServiceStub(self._channel).CreateLab(request, wait_for_ready=True, timeout=TIMEOUT_SECONDS)

    def upload(self, number: str, reported: Instant) -> int:
        """Upload a report of the person. Return 1 if it was new, and 0 if it was known."""
        tube = make_tube(PERSON, reported=reported, sampled=reported - HOUR)
        tube.persons[0].report_number = number
        frames = [start(number), batch_of([tube])]
        (answer,) = UploadServiceStub(self._channel).UploadResults(  # type: ignore[attr-defined]
            iter(frames), wait_for_ready=True, timeout=TIMEOUT_SECONDS
        )
        assert answer.rejected_count == 0
        return int(answer.accepted_count)

    def found(self) -> list[str]:
        """Return the reports of the person, newest first."""
        request = LookupLatestRequest(document=make_document(PERSON))
        answer = ResultsServiceStub(self._channel).LookupLatest(request, wait_for_ready=True, timeout=TIMEOUT_SECONDS)
        return [one.report_number for one in answer.out_of_region] + [one.report_number for one in answer.in_region]


@contextmanager
def serving(variables: dict[str, str]) -> Iterator[Node]:
    served = daemon("serve", "results", **variables, results_address="127.0.0.1:0", upload_workers="0")
    with served as service, grpc.insecure_channel(service.address) as channel:
        yield Node(channel)


def settings(variables: dict[str, str]) -> Settings:
    return Settings.from_environment({f"HUTONG_{name.upper()}": value for name, value in variables.items()})


def test_the_pepper_changes_step_by_step(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    now = SystemClock().now()
    first = str(write_secret(tmp_path / "first", b"1" * 32))
    second = str(write_secret(tmp_path / "second", b"2" * 32))
    urls = {f"{name}_database_url": sqlite_url(name) for name in ("results", "verification", "policy")}
    common = {"data_dir": str(tmp_path), **urls}
    old = common | {"pepper_file": first}
    reading = old | {"pepper_other_file": second, "pepper_other_version": "2"}
    writing = common | {"pepper_file": second, "pepper_version": "2", "pepper_other_file": first}
    writing |= {"pepper_other_version": "1"}
    new = common | {"pepper_file": second, "pepper_version": "2"}

    with serving(old) as node:
        node.register()
        assert node.upload("A", now - 5 * HOUR) == 1
    assert "HUTONG_PEPPER_OTHER_VERSION=2" in hutongd("key", "status", **old).stdout
    with serving(reading) as node:
        assert node.upload("B", now - 4 * HOUR) == 1
        assert node.found() == ["B", "A"]
    steps = key_status(settings(reading)).splitlines()
    assert {f"  HUTONG_PEPPER_FILE={second}", f"  HUTONG_PEPPER_OTHER_FILE={first}"} <= set(steps)
    with pytest.raises(BadSetting, match="nothing can end"):
        end_rotation(settings(reading))
    with serving(writing) as node:
        assert [node.upload("A", now - 5 * HOUR), node.upload("C", now - HOUR // 2)] == [0, 1]
        assert node.found() == ["C", "B", "A"]
        status = key_status(settings(writing))
        assert "version 1: 2 rows of results results" in status
        assert "version 2: 1 rows of results results" in status
        assert "until purges have removed the last row of version 1" in status
    refused = hutongd("serve", "results", **new)
    assert (refused.returncode, "rows under version 1 of the pepper" in refused.stderr) == (2, True)
    upgrade("verification", urls["verification_database_url"])
    with pytest.raises(BadSetting, match="results has 2 rows of version 1"):
        end_rotation(settings(writing))
    purge_node(settings(writing), 2 * HOUR)
    ended = hutongd("key", "rotate", "--end", **writing)
    assert (ended.returncode, ended.stderr) == (0, "")
    with serving(new) as node:
        assert node.found() == ["C"]
        assert node.upload("C", now - HOUR // 2) == 0
    status = hutongd("key", "status", **new)
    assert (status.returncode, "version 1:" in status.stdout) == (0, False)
