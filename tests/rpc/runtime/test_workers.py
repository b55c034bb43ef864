"""Services in several worker processes behind one port: real processes, of which one is killed under calls."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import urllib.request
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_service_pb2 import ListPoliciesRequest
from hutong.type.v1 import purpose_pb2
from hutong.verification.v1.holder_token_service_pb2 import IssueHolderTokenRequest
from hutong.verification.v1.holder_token_service_pb2_grpc import HolderTokenServiceStub
from hutong.verification.v1.verification_service_pb2 import BatchVerifyRequest, GetDecisionRequest, VerifyRequest
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub

from services.audit.check import Report, check_audit
from services.audit.keys import AuditKeys
from services.policy import tables
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.policy.service import Service, make_policy
from tests.support.ports import free_address
from tests.support.processes import Daemon, daemon, hutongd
from tests.support.results.factories import make_document
from tests.support.servers import new_channel
from tests.support.waiting import TIMEOUT_SECONDS, pause_between_calls, until, wait_until
from tests.support.workers import channels_to_workers, worker_of, worker_pids

HOTEL = purpose_pb2.PURPOSE_HOTEL
PERSONS = 500
"""How many persons a caller may ask about in an hour. One batch holds as many questions."""


def name_of(index: int) -> str:
    """The name of a policy."""
    return f"jurisdictions/41010{index}/policies/hotel"


async def ask_policy(channel: grpc.aio.Channel, metadata: list[tuple[str, str]]) -> Any:
    """Ask Policy something that changes nothing."""
    return await Service(channel).read.ListPolicies(
        ListPoliciesRequest(), metadata=metadata, timeout=TIMEOUT_SECONDS, wait_for_ready=True
    )


async def check_that_calls_alternate(first: Service, second: Service) -> None:
    """Request ids, consistency tokens and page tokens hold at either worker."""
    request = PublishPolicyRequest(policy=make_policy(name_of(1)), request_id=str(uuid.uuid4()))
    published = await first.admin.PublishPolicy(request)
    assert await second.admin.PublishPolicy(request) == published
    governing = await second.governing("410101", at_least_as_fresh=published.consistency_token)
    assert governing == f"{name_of(1)}@1"
    for index, service in ((2, second), (3, first)):
        await service.publish(make_policy(name_of(index)))
    # A worker hears of the other one's publications within a poll, unless a token asks for them.
    await until(lambda: knows_all(first))
    await until(lambda: knows_all(second))
    names, token = [], ""
    for service in itertools.cycle((first, second)):
        page = await service.read.ListPolicies(ListPoliciesRequest(page_size=1, page_token=token))
        names += [policy.name for policy in page.policies]
        if not (token := page.next_page_token):
            break
    assert names == [f"{name_of(index)}@1" for index in (1, 2, 3)]


async def knows_all(service: Service) -> bool:
    """Whether a worker lists the three policies."""
    return len((await service.read.ListPolicies(ListPoliciesRequest())).policies) == 3


async def check_that_others_go_on(running: Daemon, killed: int, service: Service) -> None:
    """No call at another worker fails while one is killed, the port answers, and a new worker is started."""
    pids = worker_pids(running)
    os.kill(pids[killed], signal.SIGKILL)
    async with new_channel(running.address) as channel:
        while worker_pids(running)[killed] == pids[killed]:
            await asyncio.gather(service.read.ListPolicies(ListPoliciesRequest()), ask_policy(channel, []))
    other = next(number for number in pids if number != killed)
    assert worker_pids(running)[other] == pids[other]
    async with contextlib.AsyncExitStack() as opened:
        reached = 0
        while reached != killed:
            channel = await opened.enter_async_context(new_channel(running.address))
            reached = await worker_of(running, channel, ask_policy)


def fetch(address: str, path: str) -> str:
    """Return what the operators' port says."""
    with urllib.request.urlopen(f"http://{address}/{path}", timeout=TIMEOUT_SECONDS) as answer:
        text: str = answer.read().decode()
        return text


def sample(address: str, name: str) -> float:
    """Return the value of a metric; 0 while it is not there."""
    lines = (line for line in fetch(address, "metrics").splitlines() if name in line)
    return next((float(line.rpartition(" ")[2]) for line in lines), 0.0)


def test_policy_in_workers(tmp_path: Path, postgres_url: MakeUrl) -> None:
    """Calls alternate between workers, one is killed, its work moves, and workers end with their parent."""
    url, operators = postgres_url("policy"), free_address()
    variables = {"data_dir": str(tmp_path), "policy_database_url": url, "metrics_address": operators}

    def audit() -> Report:
        return database.read_long_now(check_audit, tables.audit, AuditKeys.of_secret(b"", "policy"))

    async def is_counted() -> bool:
        published = 'grpc_server_handled_total{grpc_code="OK",grpc_method="PublishPolicy"'
        count = await asyncio.to_thread(sample, operators, published)
        assert count <= 4
        return count == 4

    async def is_healthy() -> bool:
        return '"worker 2": {"serving": true' in await asyncio.to_thread(fetch, operators, "healthz")

    async def use() -> None:
        async with channels_to_workers(running, 2, ask_policy) as channels:
            first, second = (Service(channels[number]) for number in (1, 2))
            await check_that_calls_alternate(first, second)
            # A call is counted after its answer has left.
            await until(is_counted)
            await check_that_others_go_on(running, 1, second)
        await until(is_counted)
        await until(is_healthy)

    with contextlib.closing(open_database(url)) as database:
        with daemon("serve", "policy", "--workers", "2", policy_address="127.0.0.1:0", **variables) as running:
            asyncio.run(use())
            # The worker that was left seals what the killed one has written.
            wait_until(lambda: audit().unsealed == [])
            workers = [psutil.Process(pid) for pid in worker_pids(running).values()]
            running.process.kill()
            wait_until(lambda: not any(one.is_running() for one in workers))
        assert audit().faults == []


async def ask_verification(channel: grpc.aio.Channel, metadata: list[tuple[str, str]]) -> Any:
    """Ask Verification something that is about no person and changes nothing."""
    request = GetDecisionRequest(name="decisions/01890a5d-ac96-774b-bcce-b302099a8057")
    with contextlib.suppress(grpc.aio.AioRpcError):
        await VerificationServiceStub(channel).GetDecision(request, metadata=metadata, timeout=TIMEOUT_SECONDS)


async def verify(channel: grpc.aio.Channel, index: int, **more: bool) -> Any:
    """Ask about a person. Results and Policy are absent, so every answer is UNDETERMINED."""
    question = VerifyRequest(document=make_document(index), region="410105", purpose=HOTEL, **more)
    return await VerificationServiceStub(channel).Verify(question, timeout=TIMEOUT_SECONDS)


async def verify_batch(channel: grpc.aio.Channel, indices: Iterable[int]) -> None:
    """Ask about several persons in one call."""
    questions = [VerifyRequest(document=make_document(index), region="410105", purpose=HOTEL) for index in indices]
    request = BatchVerifyRequest(requests=questions)
    await VerificationServiceStub(channel).BatchVerify(request, timeout=TIMEOUT_SECONDS)


async def count_accepted(channel: grpc.aio.Channel) -> int:
    """Ask about further persons until the caller's budget is used up. Return how many it accepts, at most PERSONS."""
    for accepted in range(PERSONS):
        try:
            await verify(channel, 1_000 + accepted)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 - the loop ends here
            assert error_info(error).reason == "BUDGET_EXCEEDED"  # noqa: PT017
            return accepted
        await pause_between_calls()
    return PERSONS


def test_verification_in_workers(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """A caller's budget, holders' tokens and stored decisions hold in all workers together."""
    access = tmp_path / "access.yaml"
    access.write_text(f"quotas:\n  - role: local\n    persons_an_hour: {PERSONS}\n")
    variables = {"data_dir": str(tmp_path), "verification_database_url": sqlite_url("verification")}
    variables |= {"source_seconds": "0.05", "access_file": str(access), "verification_workers": "2"}

    async def use() -> None:
        async with channels_to_workers(running, 2, ask_verification) as channels:
            first, second = channels[1], channels[2]
            decision = (await verify(first, 1, store_decision=True)).decision
            stored = await VerificationServiceStub(second).GetDecision(GetDecisionRequest(name=decision.name))
            assert stored.decision == decision
            issue = IssueHolderTokenRequest(document=make_document(2))
            token = (await HolderTokenServiceStub(first).IssueHolderToken(issue)).holder_token
            question = VerifyRequest(holder_token=token, region="410105", purpose=HOTEL)
            assert (await VerificationServiceStub(second).Verify(question)).HasField("decision")
            await verify_batch(first, range(3, PERSONS))
            # The workers share their counts several times a second. With the pauses, 400 questions take at least twenty
            # seconds, so the counts are shared long before.
            assert await count_accepted(second) < 400
            await verify(second, 1)

    with daemon("serve", "verification", verification_address="127.0.0.1:0", **variables) as running:
        asyncio.run(use())
        assert running.terminate() == 0


@pytest.mark.parametrize(
    ("arguments", "variables", "line"),
    [
        (["results", "--workers", "2"], {}, "hutongd: Results on SQLite is served by one process"),
        (["all", "--workers", "2"], {}, "hutongd: workers serve one service"),
        (["policy", "--workers", "2"], {"policy_address": "unix:/tmp/x.sock"}, "hutongd: workers cannot share"),
        (["policy", "--workers", "0"], {}, "must be a whole number, 1 to 64"),
        (["policy", "--workers", "2"], {"policy_address": "127.0.0.1:0", "deny_file": "/absent"}, "HUTONG_DENY_FILE"),
    ],
    ids=["results on sqlite", "all", "unix socket", "none", "a wrong setting"],
)
def test_what_cannot_be_served_by_workers(
    arguments: list[str], variables: dict[str, str], line: str, tmp_path: Path
) -> None:
    ended = hutongd("serve", *arguments, data_dir=str(tmp_path), **variables)
    assert ended.returncode == 2
    assert line in ended.stderr
