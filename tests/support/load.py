"""Load on a node whose acknowledgements are remembered, so that a test can look for each of them afterwards."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping

import grpc
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_pb2 import TRAVELER_ORIGIN_ANY, Policy
from hutong.policy.v1.policy_service_pb2 import GetPolicyRequest
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.type.v1.purpose_pb2 import PURPOSE_HOTEL
from hutong.type.v1.refusal_ground_pb2 import REFUSAL_GROUND_NOT_TESTED_LOCALLY
from hutong.verification.v1.decision_pb2 import DECISION_OUTCOME_RECOGNIZED, DECISION_OUTCOME_UNDETERMINED
from hutong.verification.v1.refusal_pb2 import VENUE_KIND_LODGING
from hutong.verification.v1.refusal_service_pb2 import GetRefusalRequest, ReportRefusalRequest

from services.domain.instant import DAY, HOUR, to_timestamp
from services.runtime.clock import SystemClock
from services.runtime.consistency import LogPosition, read_token
from services.runtime.ids import uuid7
from tests.support.results.factories import USCC
from tests.support.results.uploaders import Laboratories
from tests.support.verification.node import NUMBERS, Callers, document, question
from tests.support.waiting import TIMEOUT_SECONDS, pause_between_calls, until

PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
"""Codes that a caller may get while a database or a pooler is away, and after which it tries again.

DEADLINE_EXCEEDED is none of them, because a caller here waits for as long as a test waits for anything. Only a call
that hangs takes longer.
"""
BATCHES, CALLS = 15, 10
"""How many batches, and how many calls of each other kind, are waited for at once."""


async def upload_report(callers: Callers, report: str) -> LogPosition:
    """Upload one report of the person whom `Load` asks about. Return the position of its commit."""
    token = read_token(await callers.upload(NUMBERS[0], report, SystemClock().now() - HOUR))
    assert token is not None
    return token.position


class Load:
    """Publishes policies, reports refusals, looks a person up and asks for decisions.

    Each load on a node needs a `series` of its own.
    """

    def __init__(self, callers: Callers, series: str = "p") -> None:
        self._callers = callers
        self._series = series
        self.policies: dict[str, str] = {}
        """The title of each acknowledged revision."""
        self.refusals: list[str] = []
        self.found = 0
        self.decided = 0
        self.failed = 0
        """Calls that were tried again."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.ensure_future(work) for work in (self._publish(), self._report(), self._look_up(), self._ask())
        ]

    async def go_on(self, count: int) -> None:
        """Wait until `count` more calls of each kind are acknowledged."""
        wanted = [done + count for done in self._counts()]

        def has_come() -> bool:
            for task in self._tasks:
                if task.done():
                    task.result()
            return all(done >= want for done, want in zip(self._counts(), wanted, strict=True))

        await until(has_come)

    def _counts(self) -> list[int]:
        """Return how many calls of each kind are acknowledged."""
        return [len(self.policies), len(self.refusals), self.found, self.decided]

    async def finish(self) -> None:
        """Stop after the calls under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def check(self, policies: PolicyServiceStub) -> None:
        """Check that every acknowledged policy and refusal is there."""
        for name, title in self.policies.items():
            found = await policies.GetPolicy(GetPolicyRequest(name=name), timeout=TIMEOUT_SECONDS)
            assert found.policy.title == title
        for name in self.refusals:
            await self._callers.refusals.GetRefusal(GetRefusalRequest(name=name), timeout=TIMEOUT_SECONDS)

    async def _again(self, call: Callable[[], Awaitable[str]]) -> str:
        """Call until the call succeeds. Return its value."""
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING:
                    raise
                self.failed += 1
            await pause_between_calls()

    async def _publish(self) -> None:
        """Publish one revision of a policy after the other."""
        for number in itertools.count():
            policy = Policy(
                name="jurisdictions/220000/policies/load",
                origin=TRAVELER_ORIGIN_ANY,
                title=f"{self._series}{number}",
                effective_start_time=to_timestamp(SystemClock().now() - DAY),
            )
            policy.not_required.SetInParent()
            request = PublishPolicyRequest(policy=policy, retroactive_reason="a test", request_id=uuid7())

            async def publish(request: PublishPolicyRequest = request) -> str:
                answer = await self._callers.policies.PublishPolicy(request, timeout=TIMEOUT_SECONDS)
                return str(answer.policy.name)

            self.policies[await self._again(publish)] = policy.title
            await pause_between_calls()

    async def _report(self) -> None:
        while True:
            request = ReportRefusalRequest(
                region="410105",
                venue_kind=VENUE_KIND_LODGING,
                purpose=PURPOSE_HOTEL,
                refuse_time=to_timestamp(SystemClock().now() - HOUR),
                grounds=[REFUSAL_GROUND_NOT_TESTED_LOCALLY],
                document=document(NUMBERS[0]),
                request_id=uuid7(),
            )

            async def report(request: ReportRefusalRequest = request) -> str:
                return str((await self._callers.refusals.ReportRefusal(request, timeout=TIMEOUT_SECONDS)).refusal.name)

            self.refusals.append(await self._again(report))
            await pause_between_calls()

    async def _look_up(self) -> None:
        request = LookupLatestRequest(document=document(NUMBERS[0]))

        async def look_up() -> str:
            answer = await self._callers.results.LookupLatest(request, timeout=TIMEOUT_SECONDS)
            return str(answer.in_region[0].report_number)

        while True:
            await self._again(look_up)
            self.found += 1
            await pause_between_calls()

    async def _ask(self) -> None:
        async def ask() -> str:
            decision = (await self._callers.decisions.Verify(question(NUMBERS[0]), timeout=TIMEOUT_SECONDS)).decision
            assert decision.outcome in {DECISION_OUTCOME_RECOGNIZED, DECISION_OUTCOME_UNDETERMINED}, decision
            return str(decision.name)

        while True:
            await self._again(ask)
            self.decided += 1
            await pause_between_calls()


class LoadedNode:
    """A node to which laboratories upload while others call it.

    Each load on a node needs a `series` and a laboratory of its own.
    """

    def __init__(self, addresses: Mapping[str, str], callers: Callers, series: str = "p", uscc: str = USCC) -> None:
        self.laboratories = Laboratories(addresses["results"], uscc=uscc)
        self.load = Load(callers, series)
        self._addresses = addresses

    async def start(self) -> None:
        await asyncio.to_thread(self.laboratories.start)
        self.load.start()

    async def go_on(self) -> None:
        """Wait until BATCHES more batches, and CALLS more calls of each other kind, are acknowledged."""
        await asyncio.gather(asyncio.to_thread(self.laboratories.wait_for_batches, BATCHES), self.load.go_on(CALLS))

    async def finish(self) -> None:
        """Stop, and check that every acknowledged policy and refusal is there."""
        await self.load.finish()
        await asyncio.to_thread(self.laboratories.finish)
        async with grpc.aio.insecure_channel(self._addresses["policy"]) as channel:
            await self.load.check(PolicyServiceStub(channel))
