"""The client of Policy.

Answers are cached as long as a watch reports every change. While Policy is unavailable the last answers are used, and
the decision shows their age.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
from hutong.policy.v1.policy_service_pb2 import BatchResolvePoliciesRequest
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub

from services.domain.errors import Unavailable
from services.domain.instant import Instant
from services.domain.names import format_node
from services.domain.region import NATION, within
from services.runtime.call import outgoing_metadata
from services.runtime.client.circuit_breaker import CircuitBreaker
from services.runtime.client.coalescer import Coalescer
from services.runtime.client.reconnecting import OpenChannel, ReconnectingStub
from services.runtime.client.repeating import repeat_if_not_begun
from services.runtime.clock import Clock
from services.runtime.consistency import CommitPosition
from services.runtime.limits import SOURCE_SECONDS
from services.verification.decision.model import SOURCE_NOT_CONFIGURED, SOURCE_OK, SOURCE_UNAVAILABLE, SourceStatus
from services.verification.sources.convert import (
    not_fresh_from_proto,
    policy_answer_from_proto,
    policy_question_to_proto,
)
from services.verification.sources.model import UNWATCHED, PolicyAnswer, PolicyQuestion
from services.verification.sources.policy_cache import PolicyCache
from services.verification.sources.policy_watch import PolicyWatch
from services.verification.sources.seen_tokens import SeenTokens
from services.verification.sources.timing import SourceTiming

if TYPE_CHECKING:
    from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceAsyncStub


NOT_KNOWN_HERE = SourceStatus(f"{format_node(NATION)}/policy", SOURCE_NOT_CONFIGURED, None)
"""The source that is missing for a place whose policies this node does not know. The nation knows them."""


class PolicyClient:
    """Asks this node's Policy if no cached answer may be used."""

    def __init__(
        self,
        open_channel: OpenChannel,
        jurisdiction: str,
        clock: Clock,
        timing: SourceTiming | None = None,
        source_seconds: float = SOURCE_SECONDS,
    ) -> None:
        self._timing = timing = timing or SourceTiming()
        self._seconds = source_seconds
        self._stub: ReconnectingStub[PolicyServiceAsyncStub] = ReconnectingStub(open_channel, PolicyServiceStub)
        self._clock = clock
        self._jurisdiction = jurisdiction
        self._source = f"{format_node(jurisdiction)}/policy"
        self.unavailable = SourceStatus(self._source, SOURCE_UNAVAILABLE, None)
        self._breaker = CircuitBreaker(self._source, longest_seconds=source_seconds)
        self._cache = PolicyCache()
        self._watch = PolicyWatch(open_channel, self._cache.drop, self._on_connected, timing)
        self._coalescer: Coalescer[PolicyQuestion, PolicyAnswer | None] = Coalescer(
            self._resolve_batch, name="policy batch"
        )
        self._seen = SeenTokens()
        self._probe: asyncio.Future[PolicyAnswer | None] | None = None

    def _on_connected(self) -> None:
        """Allow questions to Policy again at once, because the watch of Policy has connected."""
        self._breaker.record_success()
        self._stub.revive()

    async def watch(self) -> None:
        """Watch the changes of policies until cancelled. A background job."""
        await self._watch.run()

    async def close(self) -> None:
        """Close the connection to Policy."""
        await self._stub.close()

    @property
    def is_watching(self) -> bool:
        """Whether the watch reports changes now."""
        return self._watch.is_live

    def find_cached(self, question: PolicyQuestion) -> PolicyAnswer | None:
        """Return what applies if a cached answer may be used; otherwise None.

        While Policy is unavailable this also sends one question in the background, to find out whether Policy answers
        again.
        """
        known = self._cache.find(question)
        if known is None or not self._has_seen(known, question.seen):
            return None
        if self._is_watched(known):
            return known
        if asyncio.get_running_loop().time() - known.ask_time < self._timing.unwatched_seconds:
            return known
        if self._breaker.is_open and self._is_recent(known):
            if self._probe is None or self._probe.done():
                self._probe = self._coalescer.ask(question)
            return known
        return None

    async def resolve(self, question: PolicyQuestion) -> PolicyAnswer | None:
        """Ask Policy what applies.

        If Policy is unavailable, return the last answer, or None if no answer may still be used.

        Raises:
            Unavailable: NOT_FRESH_ENOUGH, Policy answers but has not seen the write of the caller's token.
        """
        late: Unavailable | None = None
        try:
            async with asyncio.timeout(self._breaker.seconds()):
                while True:
                    try:
                        latest = await self._coalescer.ask(question)
                        break
                    except Unavailable as error:
                        late = error
                        if error.metadata.get("lost"):
                            raise
                    await asyncio.sleep(self._timing.token_retry_seconds)
        except TimeoutError:
            if late is not None:
                raise late from None
            self._breaker.record_failure("no answer in time")
            latest = None
        if latest is not None:
            return latest
        last = self._cache.find(question)
        return last if last is not None and self._is_recent(last) and self._has_seen(last, question.seen) else None

    def is_complete(self, known: PolicyAnswer, region: str) -> bool:
        """Return whether Policy's answer for a region is complete: no policy that this node lacks can change it.

        This node has the policies of its region and of the regions above. For any other place, another node may have
        published policies. An answer for such a place is complete only if a floor lifts, because no policy undoes a
        lift.
        """
        return known.is_lifted or within(region, self._jurisdiction) or within(self._jurisdiction, region)

    def status(self, known: PolicyAnswer) -> SourceStatus:
        """Return Policy's state as a source of a decision, with the as-of time of the answer."""
        return SourceStatus(self._source, SOURCE_OK, self._as_of(known))

    def _is_watched(self, known: PolicyAnswer) -> bool:
        return self._watch.is_live and known.epoch == self._watch.epoch

    def _as_of(self, known: PolicyAnswer) -> Instant:
        """Return the instant up to which all publications that could change the answer are known."""
        if known.epoch == self._watch.epoch:
            return max(known.as_of_time, self._watch.as_of_time)
        return known.as_of_time

    def _has_seen(self, known: PolicyAnswer, seen: CommitPosition | None) -> bool:
        if seen is None:
            return True
        needed = self._seen.find(seen, self._watch.epoch)
        return needed is not None and needed <= self._sequence_of(known)

    def _sequence_of(self, known: PolicyAnswer) -> int:
        """Return the sequence up to which all publications that could change the answer are known."""
        if known.epoch == self._watch.epoch:
            return max(known.sequence, self._watch.sequence)
        return known.sequence

    def _is_recent(self, known: PolicyAnswer) -> bool:
        return self._clock.now() - self._as_of(known) < self._timing.longest_absence

    async def _resolve_batch(self, questions: list[PolicyQuestion]) -> Sequence[PolicyAnswer | Unavailable | None]:
        """Ask once for each pair of key and token. Most questions of a batch share both and have about the same time.

        Questions whose time is not covered by the answer to their key are asked in a second call.
        """
        first = {(question.key, question.seen): question for question in reversed(questions)}
        known = dict(zip(first, await self._ask(list(first.values())), strict=True))
        rest = [question for question in questions if not _covers(known[question.key, question.seen], question)]
        others = dict(zip(rest, await self._ask(rest) if rest else (), strict=True))
        return [others.get(question, known[question.key, question.seen]) for question in questions]

    async def _ask(self, questions: list[PolicyQuestion]) -> list[PolicyAnswer | Unavailable | None]:
        """Ask Policy.

        Unavailable (NOT_FRESH_ENOUGH) is returned in place of an answer that lacks the write of the token.
        """
        epoch, changes = self._watch.epoch, self._watch.change_count
        ask_time = asyncio.get_running_loop().time()
        now = self._clock.now()
        request = BatchResolvePoliciesRequest(requests=[policy_question_to_proto(question) for question in questions])
        stub = self._stub.stub
        try:
            response = await repeat_if_not_begun(
                lambda: stub.BatchResolvePolicies(request, timeout=self._seconds, metadata=outgoing_metadata())
            )
        except grpc.aio.AioRpcError as error:
            self._breaker.record_failure(error.code().name)
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                self._stub.renew(stub)
            return [None] * len(questions)
        self._breaker.record_success()
        answers: list[PolicyAnswer | Unavailable | None] = []
        for question, item in zip(questions, response.items, strict=True):
            known = policy_answer_from_proto(item, now, ask_time, epoch)
            answers.append(known or not_fresh_from_proto(item))
            if known is None:
                continue
            if question.seen is not None:
                self._seen.keep(question.seen, known.sequence, epoch)
            if self._watch.change_count == changes:
                self._cache.keep(question, known)
            else:
                # This answer may lack a change that was reported during the call, so it is used but not cached, and its
                # age is counted from its own as_of_time.
                known.epoch = UNWATCHED
        return answers


def _covers(known: PolicyAnswer | Unavailable | None, question: PolicyQuestion) -> bool:
    return not isinstance(known, PolicyAnswer) or known.covers(question.use_time)
