"""Verification while its sources are stopped, frozen or killed: it degrades, causes no refusal, and recovers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from hutong.results.v1 import lookup_pb2, next_step_pb2
from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1 import verification_service_pb2 as service
from hutong_client.formatting import source_name

from services.domain.instant import HOUR, SECOND, from_timestamp
from services.runtime.clock import SystemClock
from services.runtime.limits import SOURCE_SECONDS
from services.runtime.server.load import LIGHT_CALLS
from tests.support.verification.node import NUMBERS, SERVICES, Callers, Node, calling, paper, question
from tests.support.waiting import TIMEOUT_SECONDS, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROUNDS = 10
"""With so many rounds, waiting in each would take far longer than a moment in which the machine is busy."""
NO_DEADLINE = 600.0
"""A caller's deadline that no decision reaches. A call that waits for it hangs."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """A node whose services tests stop and freeze, and leave as they found them."""
    node = Node(tmp_path_factory.mktemp("faulty-node"), source_seconds=SOURCE_SECONDS)
    try:
        await node.start(*SERVICES)
        async with calling(node.addresses) as callers:
            await callers.create_lab()
            await callers.publish("410100", 48 * HOUR)
            await callers.upload(NUMBERS[0], "R0", SystemClock().now() - HOUR)
        yield node
    finally:
        await node.close()


@pytest_asyncio.fixture(loop_scope="module")
async def callers(node: Node) -> AsyncIterator[Callers]:
    """Callers of the node, once it is whole."""
    async with calling(node.addresses) as callers:
        await _until_whole(callers)
        yield callers


async def _until_whole(callers: Callers) -> None:
    """Wait until both sources answer decisions again."""

    async def whole() -> bool:
        decision = (await callers.decisions.Verify(question(NUMBERS[0]))).decision
        fresh = all(
            source.state == lookup_pb2.SOURCE_STATE_OK
            and SystemClock().now() - from_timestamp(source.as_of_time) < 3 * SECOND
            for source in decision.sources
        )
        return decision.outcome == pb.DECISION_OUTCOME_RECOGNIZED and fresh

    await until(whole)


async def _ask_with_results(callers: Callers, asked: service.VerifyRequest) -> pb.Decision:
    """Return the first decision for which Results was not late, as it is for none on an idle machine."""
    found: list[pb.Decision] = []

    async def in_time() -> bool:
        found.append((await callers.decisions.Verify(asked)).decision)
        return _state(found[-1], "results") == lookup_pb2.SOURCE_STATE_OK

    await until(in_time)
    return found[-1]


def _state(decision: pb.Decision, source: str) -> int:
    return next(one.state for one in decision.sources if source_name(one) == f"nodes/000000/{source}")


async def _assert_no_results(callers: Callers) -> None:
    """Without Results: recognised on paper, else undetermined and to be asked again. An absence alone is not stored."""
    bare = (await callers.decisions.Verify(question(NUMBERS[0]))).decision
    assert (bare.outcome, bare.reason) == (
        pb.DECISION_OUTCOME_UNDETERMINED,
        pb.DECISION_REASON_SOURCE_UNAVAILABLE,
    )
    assert not bare.refusal_permitted
    assert not bare.name
    assert [one.action for one in bare.next_steps] == [next_step_pb2.NEXT_STEP_ACTION_ASK_AGAIN]
    assert _state(bare, "results") == lookup_pb2.SOURCE_STATE_UNAVAILABLE
    shown = (
        await callers.decisions.Verify(question(NUMBERS[0], evidence=[paper("R0", SystemClock().now() - HOUR)]))
    ).decision
    assert (shown.outcome, shown.basis) == (pb.DECISION_OUTCOME_RECOGNIZED, pb.DECISION_BASIS_PRESENTED)
    assert shown.name


async def test_results_stopped(node: Node, callers: Callers) -> None:
    """Results stopped and started again: undetermined meanwhile, recognised at once afterwards."""
    await node.stop("results")
    await _assert_no_results(callers)
    batch = service.BatchVerifyRequest(requests=[question(number) for number in NUMBERS])
    items = (await callers.decisions.BatchVerify(batch)).items
    assert {item.decision.reason for item in items} == {pb.DECISION_REASON_SOURCE_UNAVAILABLE}
    await node.start("results")
    await _until_whole(callers)


async def test_results_killed(node: Node, callers: Callers) -> None:
    """Kill -9 in the middle of questions: none of them fails, none is refused."""
    outcomes: set[int] = set()
    asking = [asyncio.ensure_future(_verify_until_undetermined(callers, outcomes)) for _ in range(8)]
    await node.stop("results", signal.SIGKILL)
    await asyncio.gather(*asking)
    assert outcomes <= {pb.DECISION_OUTCOME_RECOGNIZED, pb.DECISION_OUTCOME_UNDETERMINED}
    await node.start("results")
    await _until_whole(callers)


async def _verify_until_undetermined(callers: Callers, outcomes: set[int]) -> None:
    """Ask again and again, until Results is missed; adds every outcome."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while pb.DECISION_OUTCOME_UNDETERMINED not in outcomes:
            outcomes.add((await callers.decisions.Verify(question(NUMBERS[0]))).decision.outcome)


async def test_results_frozen(node: Node, callers: Callers) -> None:
    """A frozen Results costs each caller a bounded wait, exhausts nothing, and is trusted again when it thaws."""
    await node.freeze("results")
    asked = question(NUMBERS[0])
    async with asyncio.timeout(TIMEOUT_SECONDS):
        # As many calls as are always admitted, however long each takes.
        verifying = (callers.decisions.Verify(asked, timeout=NO_DEADLINE) for _ in range(LIGHT_CALLS))
        decisions = await asyncio.gather(*verifying)
    assert {one.decision.reason for one in decisions} == {pb.DECISION_REASON_SOURCE_UNAVAILABLE}
    # A source that is known not to answer is not waited for at length, as two calls of every round would then do.
    async with asyncio.timeout(ROUNDS * 2 * SOURCE_SECONDS):
        for _ in range(ROUNDS):
            await _assert_no_results(callers)

    async def is_free() -> bool:
        free = (await callers.decisions.Verify(question(NUMBERS[0], region="450403"))).decision
        return free.reason == pb.DECISION_REASON_NO_POLICY_IN_FORCE

    # A decision that needs no results is made as before. On a busy machine Policy may be late.
    await until(is_free)
    node.thaw("results")
    await _until_whole(callers)


async def test_deadline_of_the_caller_is_kept_while_results_is_frozen(node: Node, callers: Callers) -> None:
    """With half a second to go the caller still gets a decision, not DEADLINE_EXCEEDED."""
    await node.freeze("results")

    async def is_kept() -> bool:
        try:
            decision = (await callers.decisions.Verify(question(NUMBERS[0]), timeout=0.5)).decision
        except grpc.aio.AioRpcError as error:
            # On a busy machine Verification itself may be late now and then.
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # noqa: PT017
            return False
        assert decision.outcome == pb.DECISION_OUTCOME_UNDETERMINED
        return True

    await until(is_kept)
    node.thaw("results")


async def test_policy_stopped(node: Node, callers: Callers) -> None:
    """The last answers serve with their age; what was never asked is undetermined; recovery is at once."""
    await node.stop("policy")
    stopped = SystemClock().now()
    decision = await _ask_with_results(callers, question(NUMBERS[0]))
    assert decision.outcome == pb.DECISION_OUTCOME_RECOGNIZED
    as_of = next(one.as_of_time for one in decision.sources if source_name(one) == "nodes/000000/policy")
    assert from_timestamp(as_of) < stopped, "the answer's age is told"
    unknown = (await callers.decisions.Verify(question(NUMBERS[0], region="410900"))).decision
    assert unknown.reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE
    assert _state(unknown, "policy") == lookup_pb2.SOURCE_STATE_UNAVAILABLE
    await node.start("policy")
    await _until_whole(callers)
    token = await callers.publish("410900", 24 * HOUR)
    asked = question(NUMBERS[0], region="410900", at_least_as_fresh=token)

    async def is_known() -> bool:
        return bool((await callers.decisions.Verify(asked)).decision.governing_policy)

    await until(is_known)


async def test_policy_frozen(node: Node, callers: Callers) -> None:
    """A frozen Policy does not delay questions about known places, and costs others a bounded wait."""
    await node.freeze("policy")
    decision = await _ask_with_results(callers, question(NUMBERS[0]))
    assert decision.outcome == pb.DECISION_OUTCOME_RECOGNIZED
    async with asyncio.timeout(TIMEOUT_SECONDS):
        asked = question(NUMBERS[0], region="411100")
        unknown = (await callers.decisions.Verify(asked, timeout=NO_DEADLINE)).decision
    assert unknown.reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE
    node.thaw("policy")
    await _until_whole(callers)


async def test_older_world_is_served_without_the_token_and_never_with_it(node: Node, callers: Callers) -> None:
    """A second Policy publishes while ours is frozen: without the token the old rule serves, with it never."""
    elsewhere = question(NUMBERS[0], region="411400")
    assert not (await callers.decisions.Verify(elsewhere)).decision.governing_policy
    await callers.publish("411200", 24 * HOUR)
    await callers.publish("411400", 24 * HOUR)

    async def is_reported() -> bool:
        return bool((await callers.decisions.Verify(elsewhere)).decision.governing_policy)

    # The answer that was kept goes when the second change is reported, after the first: no report is to come any more.
    await until(is_reported)
    asked = question(NUMBERS[0], region="411200")

    async def is_first() -> bool:
        return (await callers.decisions.Verify(asked)).decision.governing_policy.endswith("@1")

    await until(is_first)
    other = Node(node.directory)
    try:
        await other.start("policy")
        await node.freeze("policy")
        async with calling(other.addresses) as others:
            token = await others.publish("411200", 36 * HOUR)
        assert (await callers.decisions.Verify(asked)).decision.governing_policy.endswith("@1"), "the older world"
        fresh = question(NUMBERS[0], region="411200", at_least_as_fresh=token)
        assert (await callers.decisions.Verify(fresh)).decision.reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE
        node.thaw("policy")
        await _until_whole(callers)

        async def is_honoured() -> bool:
            decision = (await callers.decisions.Verify(fresh)).decision
            # Policy may still be late for a moment. The old rule never serves.
            assert decision.reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE or decision.governing_policy.endswith("@2")
            return bool(decision.governing_policy)

        await until(is_honoured)
    finally:
        node.thaw("policy")
        await other.close()


async def test_both_sources_unavailable(node: Node, callers: Callers) -> None:
    """With both sources stopped an unknown place is undetermined, and the service stays up."""
    await node.stop("results")
    await node.stop("policy")
    shown = [paper("R0", SystemClock().now() - HOUR)]
    decision = (await callers.decisions.Verify(question(NUMBERS[0], region="411300", evidence=shown))).decision
    assert decision.reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE
    assert len(decision.considered) == 1
    await node.start("results", "policy")
    await _until_whole(callers)


async def test_verification_starts_before_its_sources(node: Node, callers: Callers) -> None:
    """Started alone it answers UNDETERMINED, and finds its sources when they come."""
    for name in SERVICES:
        await node.stop(name)
    await node.start("verification")
    decision = (await callers.decisions.Verify(question(NUMBERS[0]))).decision
    assert decision.reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE
    await node.start("results", "policy")
    await _until_whole(callers)


async def test_stored_decisions_outlive_kill_9(node: Node, callers: Callers) -> None:
    """An adverse decision that was answered is there after kill -9."""
    decision = await _ask_with_results(callers, question(NUMBERS[2]))
    assert decision.outcome == pb.DECISION_OUTCOME_NOT_RECOGNIZED
    await node.stop("verification", signal.SIGKILL)
    await node.start("verification")
    async with calling(node.addresses) as again:
        stored = await again.decisions.GetDecision(service.GetDecisionRequest(name=decision.name))
    assert stored.decision == decision


async def test_a_deadline_already_past_is_reported(callers: Callers) -> None:
    """No time at all is DEADLINE_EXCEEDED, by the server or the caller's own channel."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.decisions.Verify(question(NUMBERS[0]), timeout=0.0)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_no_call_was_an_internal_error(node: Node) -> None:
    """In all of the above Verification answered none with INTERNAL."""
    assert "INTERNAL" not in node.log("verification")
