"""The client for look-ups at the node above.

Concurrent look-ups share one call. If an answer is late, there is no answer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import grpc
from hutong.exchange.v1.exchange_service_pb2 import ClaimedReportRecord, LookupSubjectsRequest, LookupSubjectsResponse
from hutong.exchange.v1.replica_pb2 import ReplicatedResult
from hutong.results.v1.lookup_pb2 import ClaimedReport
from hutong_texts import english

from services.domain.errors import HutongError, Unavailable
from services.domain.instant import SECOND, set_timestamp
from services.domain.names import DEFAULT_ITEM, format_item, format_lab, format_node, parse_lab
from services.domain.region import NATION
from services.results.exchange.convert.results import replica_from_proto
from services.results.labs.convert import stated_keys
from services.results.lookup.model import RemoteClaim, RemoteMatch, ReportClaim, SubjectAnswer, SubjectQuestion
from services.results.lookup.nationwide import all_items
from services.results.missing_reports.convert import answer_from_proto
from services.runtime.background import begin_ahead
from services.runtime.call import outgoing_metadata, seconds_left
from services.runtime.client.circuit_breaker import CircuitBreaker
from services.runtime.client.coalescer import Coalescer
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.client.repeating import repeat_if_not_begun
from services.runtime.limits import SOURCE_SECONDS
from services.runtime.server.status import error_info

if TYPE_CHECKING:
    from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceAsyncStub

    from services.results.labs.model import Standing


MAX_BATCH = 250
"""The most subjects in one call. Answers with ten results inside and ten outside the region each stay below 4 MiB."""
CALLS_AT_ONCE = 4
"""The most concurrent calls for questions without tokens. A question that waits too long for a call is not sent."""
NATION_SHARE = 0.5
"""The share of a source's time for which a look-up waits for the nation. A decision gives Results the whole time of a
source. The rest of this time lets Results return local results if the nation does not answer."""
OPEN_SECONDS = 0.1
"""The longest wait while the circuit breaker is open. A distant node that works again answers within this time."""


RELAY_SHARE = 0.25
"""The share of a call's remaining time for which a node in the middle waits for the node above it. The deadline of its
own call is twice as late, so that a late answer can still close the circuit breaker."""


class NationClient:
    """Asks the node above about subjects. An answer is None if it did not arrive in time or cannot be used.

    Attributes:
        node: the name of the node above, as its last answer states it. Before the first answer it is the name of the
            nation.
    """

    def __init__(
        self,
        connection: ReconnectingStub[ExchangeServiceAsyncStub],
        jurisdiction: str,
        source_seconds: float = SOURCE_SECONDS,
    ) -> None:
        self._connection = connection
        self._seconds = source_seconds
        self._nation_seconds = source_seconds * NATION_SHARE
        self.node = format_node(NATION)
        self._node = format_node(jurisdiction)
        self._breaker = CircuitBreaker(
            f"{format_node(NATION)}/results", longest_seconds=self._nation_seconds, open_seconds=OPEN_SECONDS
        )
        self._late: set[asyncio.Future[list[SubjectAnswer | None]]] = set()
        self._coalescer: Coalescer[SubjectQuestion, SubjectAnswer | None] = Coalescer(
            partial(self._ask_by_items, source_seconds),
            max_batch=MAX_BATCH,
            in_flight=CALLS_AT_ONCE,
            name="nation batch",
        )

    async def ask_each(self, questions: Sequence[SubjectQuestion]) -> list[SubjectAnswer | Unavailable | None]:
        """Return the answers in the order of the questions, within the time left to the current call.

        Questions with the same token share calls that have no other questions. If the commit of the token does not
        reach the node above in time, the answer to these questions is Unavailable (NOT_FRESH_ENOUGH).
        """
        token_seconds = self._breaker.seconds_of(self._seconds)
        by_token: dict[str, Coalescer[SubjectQuestion, SubjectAnswer | None]] = {}
        plain: list[asyncio.Future[SubjectAnswer | None]] = []
        with_token: list[asyncio.Future[SubjectAnswer | None]] = []
        for question in questions:
            if not question.token:
                plain.append(self._coalescer.ask(question))
                continue
            if question.token not in by_token:
                # The node above waits for the commit of the token as long as the call allows.
                by_token[question.token] = Coalescer(
                    partial(self._ask_by_items, token_seconds), max_batch=MAX_BATCH, name="nation batch"
                )
            with_token.append(by_token[question.token].ask(question))
        loop = asyncio.get_running_loop()
        timers = [
            loop.call_later(self._breaker.seconds(), self._give_up, plain),
            loop.call_later(token_seconds, self._give_up, with_token),
        ]
        try:
            await asyncio.gather(*plain, *with_token, return_exceptions=True)
        finally:
            for timer in timers:
                timer.cancel()
        plain_answers, token_answers = iter(plain), iter(with_token)
        return [_outcome(next(token_answers if question.token else plain_answers)) for question in questions]

    async def relay(self, questions: Sequence[SubjectQuestion]) -> list[SubjectAnswer | Unavailable | None]:
        """Return the answers to questions of a node below in order, within a share of the time left to the call.

        Each node in the middle gives the node above it half of its remaining time, so that all nodes answer in time.
        """
        left = seconds_left(self._seconds)
        by_token: defaultdict[str, list[int]] = defaultdict(list)
        for index, question in enumerate(questions):
            by_token[question.token].append(index)
        answers: list[SubjectAnswer | Unavailable | None] = [None] * len(questions)

        async def ask(indexes: list[int]) -> None:
            if questions[indexes[0]].token:
                # A look-up with a token waits for the commit of the token, as long as the call allows.
                share, seconds = left, self._breaker.seconds_of(self._seconds)
            else:
                share = left * RELAY_SHARE
                seconds = min(share, self._breaker.seconds())
            for start in range(0, len(indexes), MAX_BATCH):
                some = indexes[start : start + MAX_BATCH]
                found = await self._ask_within(seconds, 2 * share, [questions[index] for index in some])
                for index, answer in zip(some, found, strict=True):
                    answers[index] = answer

        await asyncio.gather(*map(ask, by_token.values()))
        return answers

    async def _ask_within(
        self, seconds: float, deadline: float, questions: list[SubjectQuestion]
    ) -> Sequence[SubjectAnswer | Unavailable | None]:
        """Wait for the answers for some seconds. The calls go on until the deadline, which may be later.

        A late answer closes the circuit breaker again. Only a few late calls go on, so that a node above that was
        frozen does not get all questions at once when it works again.
        """
        call = begin_ahead(self._ask_by_items(deadline, questions))
        try:
            await asyncio.wait([call], timeout=seconds)
        except asyncio.CancelledError:
            call.cancel()
            raise
        if not call.done():
            self._breaker.record_failure("no answer in time")
            if len(self._late) < CALLS_AT_ONCE:
                self._late.add(call)
                call.add_done_callback(self._late.discard)
            else:
                call.cancel()
            return [None] * len(questions)
        try:
            return call.result()
        except Unavailable as error:
            return [error] * len(questions)

    def _give_up(self, futures: Sequence[asyncio.Future[SubjectAnswer | None]]) -> None:
        """Answer the open questions with None.

        Questions that were not sent yet are dropped. Calls that are under way go on.

        A late answer of such a call closes the circuit breaker again.
        """
        for future in futures:
            if not future.done():
                self._breaker.record_failure("no answer in time")
                future.set_result(None)

    async def _ask_by_items(self, seconds: float, questions: list[SubjectQuestion]) -> list[SubjectAnswer | None]:
        """Make one call for each set of items, so that the node above returns no result that was not asked for."""
        by_items: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, question in enumerate(questions):
            by_items[question.items].append(index)
        if len(by_items) == 1:
            return await self._ask_together(seconds, questions)
        answers: list[SubjectAnswer | None] = [None] * len(questions)
        calls = [self._ask_together(seconds, [questions[index] for index in part]) for part in by_items.values()]
        for part, found in zip(by_items.values(), await asyncio.gather(*calls), strict=True):
            for index, answer in zip(part, found, strict=True):
                answers[index] = answer
        return answers

    async def _ask_together(self, seconds: float, questions: list[SubjectQuestion]) -> list[SubjectAnswer | None]:
        request = LookupSubjectsRequest(
            node=self._node,
            subject_keys=[question.subject_key for question in questions],
            limit=max(question.limit for question in questions),
            at_least_as_fresh=sorted({question.token for question in questions if question.token}),
        )
        items = all_items(questions)
        if items != [DEFAULT_ITEM]:
            request.items.extend(map(format_item, items))
        if any(question.other_key for question in questions):
            # If only one key of a document is known, as for a linked document, that key is named twice.
            request.other_subject_keys.extend([question.other_key or question.subject_key for question in questions])
        for question in questions:
            request.claimed_reports.extend(map(_claim_to_proto, question.claims))
        stub = self._connection.stub
        try:
            response = await repeat_if_not_begun(
                lambda: stub.LookupSubjects(request, timeout=seconds, metadata=outgoing_metadata())
            )
        except grpc.aio.AioRpcError as error:
            not_fresh = _not_fresh(error)
            if not_fresh is not None:
                self._breaker.record_success()
                raise not_fresh from None
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                # The node above works, but one question is invalid or the answer exceeds a message. The questions are
                # therefore sent in halves.
                self._breaker.record_success()
                if len(questions) == 1:
                    return [None]
                half = len(questions) // 2
                return [
                    *await self._ask_together(seconds, questions[:half]),
                    *await self._ask_together(seconds, questions[half:]),
                ]
            self._breaker.record_failure(error.code().name)
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and seconds >= self._nation_seconds:
                self._connection.renew(stub)
            return [None] * len(questions)
        try:
            answers = _pair(questions, response)
        except (HutongError, ValueError):
            # A malformed answer counts as no answer. The answering node may run another version.
            self._breaker.record_failure("an answer that cannot be read")
            return [None] * len(questions)
        self._breaker.record_success()
        self.node = response.sources[0].node
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
                    _match(result, standing)
                    for result, standing in zip(subject.results, subject.lab_standings, strict=True)
                ],
                list(subject.subject_keys),
                list(map(_claim_from_proto, own)),
                response.sources,
            )
        )
    return answers


def _claim_to_proto(claim: ReportClaim) -> ClaimedReport:
    """Return the message of a claim.

    The message has the name as it was shown, because each node itself converts the name to its normal form.
    """
    message = ClaimedReport(report_number=claim.report_number, with_signing_keys=claim.with_signing_keys)
    if claim.lab:
        message.lab = format_lab(claim.lab)
    else:
        message.lab_name = claim.lab_name
    if claim.report_time is not None:
        set_timestamp(message.report_time, claim.report_time)
    return message


def _claim_from_proto(claim: ClaimedReportRecord) -> RemoteClaim:
    return RemoteClaim(
        _match(claim.result, claim.record_lab_standing) if claim.HasField("result") else None,
        claim.lab_standing,
        claim.lab_region,
        [(parse_lab(of_lab.lab), _claim_from_proto(of_lab)) for of_lab in claim.by_lab],
        stated_keys(claim.signing_keys),
        answer_from_proto(claim.lab_answer) if claim.HasField("lab_answer") else None,
    )


def _match(message: ReplicatedResult, standing: Standing) -> RemoteMatch:
    return RemoteMatch(replica_from_proto(message).result, standing)


def _not_fresh(error: grpc.aio.AioRpcError) -> Unavailable | None:
    """Return the error for a token that the node above could not satisfy in time; None for any other failure."""
    info = error_info(error)
    if info.reason != "NOT_FRESH_ENOUGH":
        return None
    metadata = dict(info.metadata)
    retry_after = None if "lost" in metadata else SECOND
    return Unavailable(
        "NOT_FRESH_ENOUGH",
        english("what the token stands for has not come to the national node in time"),
        metadata=metadata,
        retry_after=retry_after,
    )
