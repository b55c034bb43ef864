"""Tests how Verification asks its sources: at the same time, once for the same thing, and each question by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import pytest
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1 import policy_service_pb2 as policy_service
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceServicer, add_PolicyServiceServicer_to_server
from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsResponse
from hutong.results.internal.v1.internal_lookup_service_pb2_grpc import (
    InternalLookupServiceServicer,
    InternalLookupServiceStub,
    add_InternalLookupServiceServicer_to_server,
)
from hutong.results.v1 import results_service_pb2 as results_service
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_LOCAL, ClaimedReport

from services.domain.document import Document
from services.domain.errors import Unavailable
from services.domain.instant import HOUR, MINUTE, SECOND, to_timestamp
from services.domain.subject import Pepper
from services.runtime.background import Background
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.clock import FixedClock
from services.runtime.consistency import CommitPosition, LogPosition, decode_token, encode_token
from services.runtime.limits import SOURCE_SECONDS
from services.runtime.server.status import to_status
from services.verification.sources.model import LookUp, PolicyQuestion
from services.verification.sources.policy_client import PolicyClient
from services.verification.sources.results_client import ResultsClient
from services.verification.sources.timing import SourceTiming
from tests.support.servers import bare_channel, bare_server
from tests.support.verification.node import NUMBERS, document
from tests.support.waiting import TIMEOUT_SECONDS, until

NOON = 1_660_190_400 * SECOND
QUESTION = PolicyQuestion("410105", 4, "410105", NOON, None)


class Results(InternalLookupServiceServicer):
    """Counts calls and fails whole batches that hold a poisoned look-up. It answers while `answering` is set."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.refuses_keys = False
        self.cancels = 0
        self.answering = asyncio.Event()
        self.answering.set()

    async def BatchLookupColumns(self, request: Any, context: Any) -> Any:
        keyed_count = sum(len(group.subject_keys) for group in request.keyed)
        self.batches.append(keyed_count + len(request.requests))
        if len(self.batches) <= self.cancels:
            await context.abort(grpc.StatusCode.CANCELLED, "is being stopped")
        if keyed_count and self.refuses_keys:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "other key versions")
        await self.answering.wait()
        if any(claim.report_number == "POISON" for one in request.requests for claim in one.claimed_reports):
            raise RuntimeError("poisoned")
        items = [
            results_service.LookupLatestItem(response=results_service.LookupLatestResponse()) for _ in request.requests
        ]
        response = BatchLookupColumnsResponse(items=items)
        response.columns.item_requests.extend(range(len(items)))
        response.columns.in_region_counts.extend([0] * keyed_count)
        response.columns.out_of_region_counts.extend([0] * keyed_count)
        return response


class Policy(PolicyServiceServicer):
    """Answers with one rule whose revision grows, counts questions, and notifies watchers if there are any."""

    def __init__(self) -> None:
        self.asked = 0
        self.revision = 1
        self.as_of = NOON
        self.silent = False
        self.away = False
        self.cancels = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._told = asyncio.Event()

    def publish(self) -> None:
        """Publish the next revision and send it to watchers."""
        self.revision += 1
        self._told.set()

    async def BatchResolvePolicies(self, request: Any, context: Any) -> Any:
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        self.asked += len(request.requests)
        if self.cancels:
            self.cancels = False
            await context.abort(grpc.StatusCode.CANCELLED, "is being stopped")
        governing = f"jurisdictions/410100/policies/venue@{self.revision}"
        known = policy_pb2.EffectivePolicy(governing=governing, as_of_time=to_timestamp(self.as_of))
        known.not_required.SetInParent()
        known.end_time.CopyFrom(to_timestamp(NOON + HOUR))
        sequence = self.revision - 1
        await self.may_answer.wait()
        items = [self._item(question.at_least_as_fresh, known, sequence) for question in request.requests]
        return policy_service.BatchResolvePoliciesResponse(items=items)

    @staticmethod
    def _item(token: str, known: policy_pb2.EffectivePolicy, sequence: int) -> policy_service.ResolvePolicyItem:
        seen = decode_token(token)
        if seen is not None and seen.position.sequence > sequence:
            return policy_service.ResolvePolicyItem(error=to_status(Unavailable("NOT_FRESH_ENOUGH", "not yet")))
        return policy_service.ResolvePolicyItem(effective_policy=known, sequence=sequence)

    async def WatchPolicies(self, _request: Any, context: Any) -> AsyncIterator[Any]:
        if self.silent:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        checkpoint = policy_service.PolicyCheckpoint(as_of_time=to_timestamp(self.as_of), sequence=self.revision - 1)
        yield policy_service.WatchPoliciesResponse(checkpoint=checkpoint, cursor="1")
        while True:
            await self._told.wait()
            self._told.clear()
            changed = policy_pb2.Policy(name=f"jurisdictions/410100/policies/venue@{self.revision}")
            event = policy_service.PolicyEvent(policy=changed)
            yield policy_service.WatchPoliciesResponse(event=event, cursor=str(self.revision))
            checkpoint = policy_service.PolicyCheckpoint(
                as_of_time=to_timestamp(self.as_of), sequence=self.revision - 1
            )
            yield policy_service.WatchPoliciesResponse(checkpoint=checkpoint, cursor=str(self.revision))


def published(sequence: int) -> CommitPosition:
    """The position of a publication."""
    return CommitPosition("policy", "410000", LogPosition("a", 0, sequence))


@asynccontextmanager
async def asking_policy(
    policy: Policy, clock: FixedClock, seconds: float = TIMEOUT_SECONDS, timing: SourceTiming | None = None
) -> AsyncIterator[PolicyClient]:
    """A client of Policy that watches, unless the policy is silent. `seconds` is how long it waits for an answer."""
    async with bare_server(add_PolicyServiceServicer_to_server, policy) as address:
        client = PolicyClient(partial(grpc.aio.insecure_channel, address), "410000", clock, timing, seconds)
        watching = Background([client.watch])
        watching.start()
        try:
            if not policy.silent:
                await until(lambda: client.is_watching)
            yield client
        finally:
            await watching.stop()
            await client.close()


def _asking_results(channel: grpc.aio.Channel) -> ResultsClient:
    """Return a client of Results that waits for an answer as long as tests wait for anything."""
    stub = ReconnectingStub(lambda: channel, InternalLookupServiceStub)
    return ResultsClient(stub, "410000", Pepper(b"p" * 32), TIMEOUT_SECONDS)


def _look_up(report: str = "", token: str = "") -> LookUp:
    stated = document(NUMBERS[0])
    look_up = LookUp(stated, Document(stated.type, stated.number), stated.name, 10, LOOKUP_SCOPE_LOCAL)
    look_up.at_least_as_fresh = token
    if report:
        look_up.claimed_reports = [ClaimedReport(lab="labs/91410100MA0000001X", report_number=report)]
    return look_up


async def test_look_ups_that_meet_share_a_call_and_a_single_one_does_not_wait() -> None:
    """A single look-up is sent alone. 200 concurrent look-ups are sent in a few calls."""
    results = Results()
    async with bare_channel(add_InternalLookupServiceServicer_to_server, results) as channel:
        client = _asking_results(channel)
        assert await client.ask(_look_up()) is not None
        assert results.batches == [1]
        answers = await asyncio.gather(*(client.ask(_look_up()) for _ in range(200)))
        assert all(answer is not None for answer in answers)
        assert len(results.batches) <= 4


async def test_a_poisoned_look_up_harms_no_other() -> None:
    """The batch that fails for one is halved until the one is alone."""
    results = Results()
    async with bare_channel(add_InternalLookupServiceServicer_to_server, results) as channel:
        client = _asking_results(channel)
        look_ups = [_look_up("POISON" if index == 37 else "") for index in range(100)]
        answers = await asyncio.gather(*(client.ask(one) for one in look_ups))
        assert [index for index, answer in enumerate(answers) if answer is None] == [37]


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_a_look_up_is_repeated_that_a_stopping_server_has_not_begun(cancels: int) -> None:
    """A server that always cancels is asked three times, and then counts as unavailable."""
    results = Results()
    results.cancels = cancels
    async with bare_channel(add_InternalLookupServiceServicer_to_server, results) as channel:
        answer = await _asking_results(channel).ask(_look_up())
    assert (answer is not None) == (cancels < 3)
    assert results.batches == [1] * min(cancels + 1, 3)


async def test_a_question_is_repeated_that_a_stopping_policy_has_not_begun() -> None:
    policy = Policy()
    policy.cancels = True
    async with asking_policy(policy, FixedClock(NOON)) as client:
        assert await client.resolve(QUESTION) is not None
    assert policy.asked == 2


async def test_documents_are_sent_after_results_has_refused_keys() -> None:
    """Results may lack a version of the pepper. A second call then answers the look-up. Later ones need one call."""
    results = Results()
    results.refuses_keys = True
    async with bare_channel(add_InternalLookupServiceServicer_to_server, results) as channel:
        client = _asking_results(channel)
        assert await client.ask(_look_up()) is not None
        assert results.batches == [1, 1]
        assert await client.ask(_look_up()) is not None
        assert results.batches == [1, 1, 1]


async def test_look_ups_that_are_late_have_no_answer() -> None:
    """A look-up of a batch and a single one have None as their answer after their share of the time.

    The call to Results goes on, and its answer closes the circuit.
    """
    results = Results()
    async with bare_channel(add_InternalLookupServiceServicer_to_server, results) as channel:
        client = _asking_results(channel)
        results.answering.clear()
        assert await client.look_up_each([_look_up(), _look_up()], share=0.001) == [None, None]
        assert await client.ask(_look_up(), share=0.001) is None
        results.answering.set()
        await until(lambda: client.seconds_to_wait() > 1)


async def test_only_tokens_of_other_nodes_are_looked_up_apart_and_those_with_one_together() -> None:
    """Results sees its own commits at once. It may wait for another node's, and no other look-up waits with it."""
    results = Results()
    own, other, third = (
        encode_token(CommitPosition("results", region, LogPosition("a", 1, 1)))
        for region in ("410000", "220000", "370000")
    )
    async with bare_channel(add_InternalLookupServiceServicer_to_server, results) as channel:
        client = _asking_results(channel)
        look_ups = [_look_up(token=token) for token in ("", own, other, third) for _ in range(10)]
        answers = await client.look_up_each(look_ups)
        assert len(answers) == 40
        assert None not in answers
        assert sorted(results.batches) == [10, 10, 20]
        results.batches.clear()
        await asyncio.gather(*(client.ask(_look_up(token=token)) for token in (own, own, other, other)))
        assert sorted(results.batches) == [1, 1, 2]


async def test_policy_is_asked_once_for_many_and_then_not_at_all() -> None:
    """Questions that meet ask once; afterwards the answer is at hand for its interval, and no longer."""
    policy = Policy()
    async with asking_policy(policy, FixedClock(NOON)) as client:
        assert client.find_cached(QUESTION) is None
        await asyncio.gather(*(client.resolve(QUESTION) for _ in range(300)))
        assert policy.asked == 1
        assert client.find_cached(QUESTION) is not None
        neighbour = PolicyQuestion("410105", 4, "411000", NOON + MINUTE, None)
        assert client.find_cached(neighbour) is not None, "the same province is the same question"
        assert client.find_cached(PolicyQuestion("410105", 4, "220502", NOON, None)) is None
        assert client.find_cached(PolicyQuestion("410105", 4, "410105", NOON + HOUR, None)) is None


async def test_an_answer_is_not_newer_than_the_change_that_overtook_it() -> None:
    """The watch reports a change while the older answer is on its way. A caller that has seen it gets the new one."""
    policy = Policy()
    seen = published(1)
    async with asking_policy(policy, FixedClock(NOON)) as client:
        elsewhere = await client.resolve(PolicyQuestion("220502", 4, "220502", NOON, None))
        assert elsewhere is not None
        policy.may_answer.clear()
        asked = asyncio.ensure_future(client.resolve(PolicyQuestion("410105", 4, "410105", NOON, seen)))
        await until(lambda: policy.asked == 2)
        policy.as_of = NOON + MINUTE
        policy.publish()
        await until(lambda: client.status(elsewhere).as_of_time == NOON + MINUTE)
        policy.may_answer.set()
        answer = await asked
        assert answer is not None
        assert answer.effective.governing == "jurisdictions/410100/policies/venue@2"


async def test_an_answer_in_use_is_not_newer_than_the_change_that_dropped_it() -> None:
    policy = Policy()
    async with asking_policy(policy, FixedClock(NOON)) as client:
        known = await client.resolve(QUESTION)
        assert known is not None
        policy.as_of = NOON + MINUTE
        policy.publish()
        await until(lambda: client.find_cached(QUESTION) is None)
        await client.resolve(QUESTION)
        assert client.status(known).as_of_time == NOON


async def test_a_change_drops_the_answers_below_its_jurisdiction() -> None:
    """A change of Zhengzhou's policies drops the answers for Zhengzhou and keeps the others."""
    policy = Policy()
    kaifeng = PolicyQuestion("410202", 4, "410202", NOON, None)
    async with asking_policy(policy, FixedClock(NOON)) as client:
        await client.resolve(QUESTION)
        await client.resolve(kaifeng)
        policy.publish()
        await until(lambda: client.find_cached(QUESTION) is None)
        assert client.find_cached(kaifeng) is not None
        known = await client.resolve(QUESTION)
        assert known is not None
        assert known.effective.governing.endswith("@2")


async def test_without_a_watch_answers_are_asked_for_again() -> None:
    """Without a watch no change is reported, so an answer is used only for a set time of less than a second."""
    assert SourceTiming().unwatched_seconds < 1
    for seconds, is_used in ((3600.0, True), (0.0, False)):
        policy = Policy()
        policy.silent = True
        timing = SourceTiming(unwatched_seconds=seconds)
        async with asking_policy(policy, FixedClock(NOON), timing=timing) as client:
            await client.resolve(QUESTION)
            assert (client.find_cached(QUESTION) is not None) is is_used
            await client.resolve(QUESTION)
            assert policy.asked == 2


async def test_last_answers_serve_up_to_a_limit_while_policy_is_unavailable() -> None:
    """The source shows their age. Beyond the limit they are not used."""
    clock = FixedClock(NOON)
    policy = Policy()
    policy.silent = True
    async with asking_policy(policy, clock) as client:
        await client.resolve(QUESTION)
        policy.away = True
        clock.advance(SourceTiming().longest_absence - SECOND)
        known = await client.resolve(QUESTION)
        assert known is not None
        assert client.status(known).as_of_time == NOON
        clock.advance(2 * SECOND)
        assert await client.resolve(QUESTION) is None


async def test_a_policy_behind_the_token_is_not_fresh_enough() -> None:
    """Policy answers but has not seen the commit of the token.

    The error is UNAVAILABLE, and the older rule is not used.
    """
    policy = Policy()
    async with asking_policy(policy, FixedClock(NOON), SOURCE_SECONDS) as client:
        await client.resolve(QUESTION)
        fresh = PolicyQuestion("410105", 4, "410105", NOON, published(1))
        assert client.find_cached(fresh) is None
        with pytest.raises(Unavailable) as caught:
            await client.resolve(fresh)
        assert caught.value.reason == "NOT_FRESH_ENOUGH"
        policy.publish()
        assert await client.resolve(fresh) is not None

        async def is_cached() -> bool:
            await client.resolve(fresh)
            return client.find_cached(fresh) is not None

        await until(is_cached)
        asked = policy.asked
        assert client.find_cached(QUESTION) is not None
        assert policy.asked == asked, "a token that was met once needs no question"
