"""The nation's node for tests of Verification: processes that a test can stop, freeze and kill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from subprocess import Popen
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong.policy.v1 import (
    policy_admin_service_pb2,
    policy_admin_service_pb2_grpc,
    policy_pb2,
    policy_service_pb2_grpc,
)
from hutong.results.v1 import (
    lab_pb2,
    lab_service_pb2,
    lab_service_pb2_grpc,
    missing_report_service_pb2_grpc,
    results_service_pb2_grpc,
    upload_pb2,
    upload_service_pb2,
    upload_service_pb2_grpc,
)
from hutong.type.v1 import identity_pb2, outcome_pb2, refusal_ground_pb2
from hutong.verification.v1 import (
    decision_pb2,
    evidence_case_service_pb2_grpc,
    evidence_flag_service_pb2_grpc,
    evidence_pb2,
    holder_token_service_pb2_grpc,
    refusal_service_pb2_grpc,
    verification_service_pb2,
    verification_service_pb2_grpc,
)

from services.domain.instant import DAY, HOUR, SECOND, Instant, Span, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.ports import free_addresses
from tests.support.preloaded import Fork, fork_hutongd
from tests.support.processes import INSECURE, PATIENT, end
from tests.support.secrets import write_secret
from tests.support.versions import Version
from tests.support.waiting import TIMEOUT_SECONDS, until

LAB = "labs/91410100MA0000001X"
SERVICES = ("results", "policy", "verification")
ALL = "all"
_UPSTREAM = {
    "results": "HUTONG_UPSTREAM",
    "policy": "HUTONG_UPSTREAM_POLICY",
    "verification": "HUTONG_UPSTREAM_VERIFICATION",
}
NUMBERS = ("410105186001010019", "220502187003030031", "450403188009090041")
"""Resident numbers of made-up persons, born in the 1800s."""
_reports = count()


class Node:
    """Services on free ports of loopback, with SQLite databases in one directory unless `urls` names others.

    It is the nation's unless `region` and `above` name another region and the node above it.

    A name is that of a service with a process of its own, or ALL for one process with all three. `source_seconds` is
    how long its services wait for each other; the default is as long as a test waits for anything. `more` has further
    variables of the environment. `version` is the version whose services run, if it is not this one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        source_seconds: float | None = None,
        more: Mapping[str, str] | None = None,
        region: str = "000000",
        above: Node | None = None,
        version: Version | None = None,
        **urls: str,
    ) -> None:
        self.directory = directory
        self.version = version
        self.addresses = free_addresses()
        self._processes: dict[str, Fork | Popen[Any]] = {}
        pepper = write_secret(directory / "pepper-of-tests")
        bare = {key: value for key, value in os.environ.items() if not key.startswith("HUTONG_")}
        self._environment = (
            bare
            | INSECURE
            | (PATIENT if source_seconds is None else {"HUTONG_SOURCE_SECONDS": str(source_seconds)})
            | {
                "HUTONG_DATA_DIR": str(directory),
                "HUTONG_PEPPER_FILE": str(pepper),
                "HUTONG_JURISDICTION": region,
                "HUTONG_DRAIN_SECONDS": "2",
                "HUTONG_UPLOAD_WORKERS": "0",
                **{f"HUTONG_{name.upper()}_ADDRESS": address for name, address in self.addresses.items()},
                **{f"HUTONG_{name.upper()}_DATABASE_URL": url for name, url in urls.items()},
                **(more or {}),
            }
        )
        if above is not None:
            for name, variable in _UPSTREAM.items():
                self._environment[variable] = above.addresses[name]

    async def start(self, *names: str) -> None:
        """Start services and wait until they serve."""
        for name in names:
            self._processes[name] = self._spawn(name)
        for name in names:
            for service in SERVICES if name == ALL else [name]:
                await self._wait_until_serving(service)

    def write_new_pepper(self) -> None:
        """Let services that start from now on write keys of a second pepper, and read those of the first one too."""
        self._environment |= {
            "HUTONG_PEPPER_FILE": str(write_secret(self.directory / "second-pepper", b"2" * 32)),
            "HUTONG_PEPPER_VERSION": "2",
            "HUTONG_PEPPER_OTHER_FILE": self._environment["HUTONG_PEPPER_FILE"],
            "HUTONG_PEPPER_OTHER_VERSION": "1",
        }

    async def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """Send a signal to a service and wait until it has ended."""
        process = self._processes.pop(name)
        process.send_signal(number)
        await asyncio.to_thread(process.wait, TIMEOUT_SECONDS)

    async def freeze(self, name: str) -> None:
        """Send SIGSTOP to a service. Its connections stay open and it answers nothing.

        A service that is stopped inside a transaction would keep SQLite's write lock, so another process could not
        write. The service is stopped at a moment when it does not have the lock.
        """
        file = self.directory / f"{name}.db"

        def is_stopped_without_lock() -> bool:
            self._processes[name].send_signal(signal.SIGSTOP)
            if not file.exists() or _is_unlocked(file):
                return True
            self.thaw(name)
            return False

        await until(is_stopped_without_lock)

    def thaw(self, name: str) -> None:
        """Send SIGCONT to a service."""
        self._processes[name].send_signal(signal.SIGCONT)

    async def close(self) -> None:
        """Stop every service that still runs, and kill what does not stop."""
        processes = list(self._processes.values())
        try:
            for name in list(self._processes):
                self.thaw(name)
                await self.stop(name)
        finally:
            for process in processes:
                end(process)

    def log(self, name: str) -> str:
        """Return the log of a service."""
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _spawn(self, name: str) -> Fork | Popen[Any]:
        with open(self.directory / f"{name}.log", "ab") as log:
            if self.version is not None:
                return self.version.serve(name, self._environment, log)
            return fork_hutongd(["serve", name], self._environment, stdout=log, stderr=log)

    async def _wait_until_serving(self, name: str) -> None:
        async def serves() -> bool:
            # A connection that the previous process had accepted is cut, and the question fails.
            try:
                answer = await health.Check(
                    health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=TIMEOUT_SECONDS
                )
            except grpc.aio.AioRpcError:
                return False
            return answer.status == health_pb2.HealthCheckResponse.SERVING

        async with grpc.aio.insecure_channel(self.addresses[name]) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            await until(serves)


def _is_unlocked(file: Path) -> bool:
    """Return whether no process has the write lock of a SQLite database."""
    with contextlib.closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True


class Callers:
    """Stubs of a node's services, and the operations that tests share."""

    def __init__(self, channels: dict[str, grpc.aio.Channel]) -> None:
        self.labs = lab_service_pb2_grpc.LabServiceStub(channels["results"])
        self.uploads = upload_service_pb2_grpc.UploadServiceStub(channels["results"])
        self.results = results_service_pb2_grpc.ResultsServiceStub(channels["results"])
        self.published = policy_service_pb2_grpc.PolicyServiceStub(channels["policy"])
        self.policies = policy_admin_service_pb2_grpc.PolicyAdminServiceStub(channels["policy"])
        self.decisions = verification_service_pb2_grpc.VerificationServiceStub(channels["verification"])
        self.flags = evidence_flag_service_pb2_grpc.EvidenceFlagServiceStub(channels["verification"])
        self.holder_tokens = holder_token_service_pb2_grpc.HolderTokenServiceStub(channels["verification"])
        self.cases = evidence_case_service_pb2_grpc.EvidenceCaseServiceStub(channels["verification"])
        self.missing_reports = missing_report_service_pb2_grpc.MissingReportServiceStub(channels["results"])
        self.refusals = refusal_service_pb2_grpc.RefusalServiceStub(channels["verification"])

    async def verify(self, request: verification_service_pb2.VerifyRequest) -> decision_pb2.Decision:
        """Ask one question in a call of its own."""
        return (await self.decisions.Verify(request)).decision

    async def verify_in_batch(self, request: verification_service_pb2.VerifyRequest) -> decision_pb2.Decision:
        """Ask one question as a batch."""
        batch = verification_service_pb2.BatchVerifyRequest(requests=[request])
        (item,) = (await self.decisions.BatchVerify(batch)).items
        return item.decision

    async def verify_in_stream(self, request: verification_service_pb2.VerifyRequest) -> decision_pb2.Decision:
        """Ask one question in a stream of its own."""
        frames = iter([verification_service_pb2.StreamVerifyRequest(correlation_id="only", request=request)])
        (answer,) = [answer async for answer in self.decisions.StreamVerify(frames)]
        return answer.decision

    async def create_lab(self, name: str = LAB, region: str = "410100") -> None:
        """Register a laboratory, without arguments that of the tests."""
        lab = lab_pb2.Lab(name=name, display_name="郑州检验所", region=region)
        await self.labs.CreateLab(lab_service_pb2.CreateLabRequest(lab=lab))

    async def upload(
        self,
        number: str,
        report: str,
        reported: Instant,
        outcome: int = outcome_pb2.OUTCOME_NEGATIVE,
        item: str = "",
        lab: str = LAB,
    ) -> str:
        """Upload one person's single tube, sampled two hours before the report. Return the consistency token."""
        tube = upload_pb2.Tube(
            tube_code=f"T-{report}",
            pool_size=10 if outcome == outcome_pb2.OUTCOME_POOL_POSITIVE else 1,
            specimen=2,  # type: ignore[arg-type]
            method=1,  # type: ignore[arg-type]
            outcome=outcome,  # type: ignore[arg-type]
            item=item,
            sample_region="220502",
            sample_time=to_timestamp(reported - 2 * HOUR),
            report_time=to_timestamp(reported),
            persons=[upload_pb2.TubePerson(document=document(number), report_number=report)],
        )
        frames = [
            upload_service_pb2.UploadResultsRequest(
                start=upload_pb2.UploadStart(lab=lab, upload_id=f"u-{report}", items=[item])
            ),
            upload_service_pb2.UploadResultsRequest(batch=upload_pb2.TubeBatch(offset=0, tubes=[tube])),
        ]
        call: Any = self.uploads.UploadResults(iter(frames))
        acknowledgements = [response async for response in call]
        assert acknowledgements[-1].accepted_count == 1, acknowledgements
        return str(acknowledgements[-1].consistency_token)

    async def publish(
        self,
        region: str,
        window: Span | None,
        *,
        purposes: tuple[int, ...] = (),
        refuse: bool = True,
        origin: policy_pb2.TravelerOrigin.ValueType = policy_pb2.TRAVELER_ORIGIN_ANY,
        policy_id: str = "venue",
        document: str = "",
        accepted: Mapping[str, Span | None] | None = None,
        adverse: tuple[str, ...] = (),
    ) -> str:
        """Publish a policy that has been in force for ten days. Return the consistency token.

        Without a window no test is required. `accepted` has the window of each accepted item; None for the policy's
        window.
        """
        policy = policy_pb2.Policy(
            name=f"jurisdictions/{region}/policies/{policy_id}",
            origin=origin,
            source=policy_pb2.PolicySource(document_number=document),
            title="a rule of the tests",
            purposes=purposes,  # type: ignore[arg-type]
            effective_start_time=to_timestamp(SystemClock().now() - 10 * DAY),
            forbidden_grounds=[
                refusal_ground_pb2.REFUSAL_GROUND_NOT_FOUND_IN_LOCAL_CODE,
                refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY,
            ],
        )
        if window is None:
            policy.not_required.SetInParent()
        else:
            policy.test_required.window.duration.CopyFrom(Duration(seconds=window // SECOND))
            policy.test_required.window.basis = policy_pb2.VALIDITY_BASIS_REPORT_TIME
            policy.test_required.refusal_permitted = refuse
            for item, own in (accepted or {}).items():
                added = policy.test_required.accepted.add(item=item)
                if own is not None:
                    added.window.CopyFrom(policy.test_required.window)
                    added.window.duration.seconds = own // SECOND
            policy.test_required.adverse_items.extend(adverse)
        request = policy_admin_service_pb2.PublishPolicyRequest(policy=policy, retroactive_reason="a test")
        return str((await self.policies.PublishPolicy(request)).consistency_token)


@asynccontextmanager
async def calling(addresses: Mapping[str, str]) -> AsyncIterator[Callers]:
    """Open channels to a node, whose addresses are given by the names of its services."""
    channels = {name: grpc.aio.insecure_channel(address) for name, address in addresses.items()}
    try:
        yield Callers(channels)
    finally:
        for channel in channels.values():
            await channel.close()


def next_report() -> str:
    """Return a report number that no other test has."""
    return f"R{next(_reports)}"


def document(number: str) -> identity_pb2.IdentityDocument:
    """Return a made-up person's resident identity card."""
    return identity_pb2.IdentityDocument(type=identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD, number=number, name="张三")


def question(number: str, *, region: str = "410105", purpose: int = 4, **fields: Any) -> Any:
    """Return a VerifyRequest."""
    return verification_service_pb2.VerifyRequest(
        document=document(number),
        region=region,
        purpose=purpose,  # type: ignore[arg-type]
        **fields,
    )


def paper(report: str, reported: Instant, **fields: Any) -> evidence_pb2.PresentedEvidence:
    """Return evidence of a negative report on paper, sampled two hours before the report."""
    values: dict[str, Any] = {
        "channel": 7,
        "lab": LAB,
        "report_number": report,
        "outcome": outcome_pb2.OUTCOME_NEGATIVE,
        "sample_time": to_timestamp(reported - 2 * HOUR),
        "report_time": to_timestamp(reported),
    }
    return evidence_pb2.PresentedEvidence(**(values | fields))
