"""Verification behind half-open connections: gates are answered, and the answers soon become complete again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from hutong.results.v1 import lookup_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import DAY, HOUR
from services.policy.main import open_policy
from services.runtime.clock import SystemClock
from services.verification.main import open_verification
from services.verification.sources.timing import SourceTiming
from tests.support.databases import MakeUrl
from tests.support.link import Link, link_to
from tests.support.results.country import HENAN
from tests.support.results.node import results_node
from tests.support.servers import serving, settings_for
from tests.support.verification.node import NUMBERS, Callers, question
from tests.support.waiting import until

IMPATIENT = SourceTiming(silence_seconds=3.0)
"""Gives a silent watch up sooner than in production. Its heartbeats come every second."""
SOURCE_SECONDS = 0.5
"""How long this node's services wait for each other."""
DEADLINE_SECONDS = 10.0
"""The time of each question, which no answer uses up on a busy machine either."""
RECOVERY_SECONDS = 25.0
"""The time of a silent call and that of a busy machine; less than keepalive alone would take."""


@dataclass(frozen=True, slots=True)
class Linked:
    """A node whose Verification reaches its sources over links, and what asks it."""

    results: Link
    policy: Link
    callers: Callers

    async def ask(self) -> pb.Decision:
        """The decision on a person with a recent negative; fails when it does not come in time."""
        answer = await self.callers.decisions.Verify(question(NUMBERS[0]), timeout=DEADLINE_SECONDS)
        return answer.decision

    async def recognizes(self) -> bool:
        """Whether the person is recognised by what both sources say now."""
        decision = await self.ask()
        states = {source.state for source in decision.sources}
        return decision.outcome == pb.DECISION_OUTCOME_RECOGNIZED and states == {lookup_pb2.SOURCE_STATE_OK}


@pytest.fixture
async def linked(tmp_path: Path, sqlite_url: MakeUrl) -> AsyncIterator[Linked]:
    """A node of Henan with one person recognised."""
    urls = {f"{name}_database_url": sqlite_url(name) for name in ("policy", "verification")}
    settings = settings_for(tmp_path, jurisdiction=HENAN, **urls)
    quick = {"source_seconds": str(SOURCE_SECONDS)}
    clock = SystemClock()
    async with (
        results_node(tmp_path, sqlite_url("results"), clock=clock, jurisdiction=HENAN) as results,
        serving(await open_policy(settings), settings) as policy,
        link_to(f"127.0.0.1:{results.server.port}") as results_link,
        link_to(policy) as policy_link,
    ):
        away = {"results_address": results_link.address, "policy_address": policy_link.address}
        service = await open_verification(
            settings_for(tmp_path, jurisdiction=HENAN, **urls, **away, **quick), timing=IMPATIENT
        )
        async with (
            serving(service, settings) as verification,
            grpc.aio.insecure_channel(policy) as to_policy,
            grpc.aio.insecure_channel(verification) as to_verification,
        ):
            callers = Callers({"results": results.channel, "policy": to_policy, "verification": to_verification})
            await callers.create_lab()
            await callers.upload(NUMBERS[0], "R0", clock.now() - HOUR)
            await callers.publish("410100", 2 * DAY)
            node = Linked(results_link, policy_link, callers)
            await until(node.recognizes)
            yield node


async def test_results_behind_a_link_that_swallows_everything(linked: Linked) -> None:
    """The answer is undetermined and in time, without a refusal. It is recognised again once the connection works."""
    linked.results.freeze()
    for _ in range(3):
        decision = await linked.ask()
        assert decision.reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE
        assert not decision.refusal_permitted
    linked.results.mend()
    await until(linked.recognizes, RECOVERY_SECONDS)


async def test_results_behind_connections_that_died_without_a_word(linked: Linked) -> None:
    """Results that are complete are found by a new connection, long before keepalive gives up the old one."""
    linked.results.strand()
    assert (await linked.ask()).outcome == pb.DECISION_OUTCOME_UNDETERMINED
    await until(linked.recognizes, RECOVERY_SECONDS)


async def test_policy_behind_connections_that_died_without_a_word(linked: Linked) -> None:
    """The last answer serves meanwhile, and a change is known once the watch is known to be silent."""
    linked.policy.strand()

    async def is_recognized() -> bool:
        decision = await linked.ask()
        # Results may be late on a busy machine. Policy is not asked.
        assert decision.governing_policy.endswith("@1")
        assert decision.outcome in {pb.DECISION_OUTCOME_RECOGNIZED, pb.DECISION_OUTCOME_UNDETERMINED}
        return decision.outcome == pb.DECISION_OUTCOME_RECOGNIZED

    await until(is_recognized)
    await linked.callers.publish("410100", HOUR // 2)

    async def has_changed() -> bool:
        return (await linked.ask()).governing_policy.endswith("@2")

    await until(has_changed, IMPATIENT.silence_seconds + RECOVERY_SECONDS)


async def test_a_policy_is_asked_for_over_a_working_connection(linked: Linked) -> None:
    """The rule of the place is not cached.

    The decision is undetermined in time; with a new connection the rule decides.
    """
    await linked.callers.publish("410200", 2 * DAY)
    linked.policy.strand()

    async def reason() -> int:
        asked = question(NUMBERS[0], region="410205")
        return (await linked.callers.decisions.Verify(asked, timeout=DEADLINE_SECONDS)).decision.reason

    assert await reason() == pb.DECISION_REASON_SOURCE_UNAVAILABLE

    async def is_known() -> bool:
        return await reason() == pb.DECISION_REASON_VALID

    await until(is_known, RECOVERY_SECONDS)
    await until(linked.recognizes)
