"""The nation, as asked by a province's look-ups: those that meet share one call, and no answer in time is one too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import grpc
from hutong.exchange.v1.exchange_service_pb2 import LookupSubjectsRequest, LookupSubjectsResponse
from hutong.exchange.v1.replica_pb2 import ReplicatedResult
from hutong.results.v1.lookup_pb2 import ClaimedReport

from services.domain.errors import HutongError, Unavailable
from services.domain.instant import set_timestamp
from services.domain.names import format_lab, format_node
from services.domain.region import NATION
from services.results.exchange.convert import replica_from_proto
from services.results.lookup.model import RemoteClaim, RemoteMatch, SubjectAnswer, SubjectQuestion
from services.runtime.call import outgoing_metadata
from services.runtime.client.circuit_breaker import UPSTREAM_SECONDS, CircuitBreaker
from services.runtime.client.coalescer import Coalescer
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.server.status import error_info

if TYPE_CHECKING:
    from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceAsyncStub

    from services.results.labs.model import Standing


MAX_BATCH = 250
"""Persons in one call: their answers, with ten results each from inside and from outside, stay below 4 MiB."""
CALLS_AT_ONCE = 4
"""Calls of look-ups without tokens under way. What waits behind them is given up in time, and then not asked."""
NATION_SECONDS = 1.0
"""The longest a look-up waits for the nation: half of what Verification gives Results, so that what is known here
still serves a decision when the nation does not answer."""
OPEN_SECONDS = 0.1
"""The same while the nation does not answer; one across the country that is well again answers within it."""


class NationClient:
    """Asks the national node. An answer is None when it did not come in time."""

    def __init__(self, line: ReconnectingStub[ExchangeServiceAsyncStub], jurisdiction: str) -> None:
        self._line = line
        self._node = format_node(jurisdiction)
        self._patience = CircuitBreaker(
            f"{format_node(NATION)}/results", longest_seconds=NATION_SECONDS, open_seconds=OPEN_SECONDS
        )
        self._coalescer: Coalescer[SubjectQuestion, SubjectAnswer | None] = Coalescer(
            partial(self._ask_together, UPSTREAM_SECONDS), max_batch=MAX_BATCH, in_flight=CALLS_AT_ONCE
        )

    async def ask_each(self, questions: Sequence[SubjectQuestion]) -> list[SubjectAnswer | Unavailable | None]:
        """Answer questions in order, within the time that the call under way has for it.

        Those with a token are asked apart, those with the same one together: Unavailable when it is not met in time.
        """
        waits = self._patience.seconds_of(UPSTREAM_SECONDS)
        apart: dict[str, Coalescer[SubjectQuestion, SubjectAnswer | None]] = {}
        prompt: list[asyncio.Future[SubjectAnswer | None]] = []
        waiting: list[asyncio.Future[SubjectAnswer | None]] = []
        for question in questions:
            if not question.token:
                prompt.append(self._coalescer.ask(question))
                continue
            if question.token not in apart:
                # The nation waits for what the token stands for as long as the call allows, and then says so.
                apart[question.token] = Coalescer(partial(self._ask_together, waits), max_batch=MAX_BATCH)
            waiting.append(apart[question.token].ask(question))
        loop = asyncio.get_running_loop()
        timers = [
            loop.call_later(self._patience.seconds(), self._give_up, prompt),
            loop.call_later(waits, self._give_up, waiting),
        ]
        try:
            await asyncio.gather(*prompt, *waiting, return_exceptions=True)
        finally:
            for timer in timers:
                timer.cancel()
        prompts, waited = iter(prompt), iter(waiting)
        return [_outcome(next(waited if question.token else prompts)) for question in questions]

    def _give_up(self, futures: Sequence[asyncio.Future[SubjectAnswer | None]]) -> None:
        """Let no one wait any longer. Who was not asked yet is not asked any more; calls under way go on.

        When the answer of one does come, however late, the nation is trusted again.
        """
        for future in futures:
            if not future.done():
                self._patience.record_failure("no answer in time")
                future.set_result(None)

    async def _ask_together(self, seconds: float, questions: list[SubjectQuestion]) -> list[SubjectAnswer | None]:
        request = LookupSubjectsRequest(
            node=self._node,
            subject_keys=[question.subject_key for question in questions],
            limit=max(question.limit for question in questions),
            at_least_as_fresh=sorted({question.token for question in questions if question.token}),
        )
        for question in questions:
            for (lab, report_number), report_time in question.claims:
                claimed = ClaimedReport(lab=format_lab(lab), report_number=report_number)
                if report_time is not None:
                    set_timestamp(claimed.report_time, report_time)
                request.claimed_reports.append(claimed)
        stub = self._line.stub
        try:
            response = await stub.LookupSubjects(request, timeout=seconds, metadata=outgoing_metadata())
        except grpc.aio.AioRpcError as error:
            not_fresh = _not_fresh(error)
            if not_fresh is not None:
                self._patience.record_success()
                raise not_fresh from None
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                # It answers, and finds fault with one of them, or has more to tell than a message holds.
                self._patience.record_success()
                if len(questions) == 1:
                    return [None]
                half = len(questions) // 2
                return [
                    *await self._ask_together(seconds, questions[:half]),
                    *await self._ask_together(seconds, questions[half:]),
                ]
            self._patience.record_failure(error.code().name)
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and seconds >= NATION_SECONDS:
                self._line.renew(stub)
            return [None] * len(questions)
        try:
            answers = _pair(questions, response)
        except (HutongError, ValueError):
            # Of another make than ours: what cannot be read says nothing.
            self._patience.record_failure("an answer that cannot be read")
            return [None] * len(questions)
        self._patience.record_success()
        return answers


def _outcome(future: asyncio.Future[SubjectAnswer | None]) -> SubjectAnswer | Unavailable | None:
    error = future.exception()
    return error if isinstance(error, Unavailable) else future.result()


def _pair(questions: Sequence[SubjectQuestion], response: LookupSubjectsResponse) -> list[SubjectAnswer | None]:
    if not response.sources or len(response.claims) != sum(len(question.claims) for question in questions):
        raise ValueError("not every question has its answer")
    claims = iter(response.claims)
    answers: list[SubjectAnswer | None] = []
    for question, subject in zip(questions, response.subjects, strict=True):
        own = [next(claims) for _ in question.claims]
        answers.append(
            SubjectAnswer(
                [
                    _known(result, standing)
                    for result, standing in zip(subject.results, subject.lab_standings, strict=True)
                ],
                list(subject.subject_keys),
                [
                    RemoteClaim(
                        _known(claim.result, claim.record_lab_standing) if claim.HasField("result") else None,
                        claim.lab_standing,
                        claim.lab_region,
                    )
                    for claim in own
                ],
                response.sources,
            )
        )
    return answers


def _known(message: ReplicatedResult, standing: Standing) -> RemoteMatch:
    return RemoteMatch(replica_from_proto(message).result, standing)


def _not_fresh(error: grpc.aio.AioRpcError) -> Unavailable | None:
    """The error for a caller whose token the nation could not meet; None when it failed for another reason."""
    info = error_info(error)
    if info is None or info.reason != "NOT_FRESH_ENOUGH":
        return None
    return Unavailable("NOT_FRESH_ENOUGH", error.details() or "", metadata=dict(info.metadata))
