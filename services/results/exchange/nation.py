"""The nation, as asked by a province's look-ups: those that meet share one call, and no answer in time is one too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import grpc
from hutong.results.v1.exchange_pb2 import ReplicatedResult
from hutong.results.v1.exchange_service_pb2 import LookupSubjectsRequest, LookupSubjectsResponse
from hutong.results.v1.lookup_pb2 import ClaimedReport, Source

from services.domain.errors import Unavailable
from services.domain.instant import Instant, set_timestamp
from services.domain.names import format_lab, format_node
from services.domain.region import NATION
from services.results.exchange.convert import replica_from_proto
from services.results.exchange.line import Line
from services.results.model import StoredResult
from services.results.reading import ReportName
from services.runtime.coalesce import Coalescer
from services.runtime.patience import UPSTREAM_SECONDS, Patience
from services.runtime.status import error_info

if TYPE_CHECKING:
    from services.results.model import Standing

MAX_BATCH = 250
"""Persons in one call: their answers, with ten results each from inside and from outside, stay below 4 MiB."""


class SubjectQuestion(NamedTuple):
    """Whose results, which claimed reports, and what the caller has seen elsewhere."""

    subject_key: bytes
    limit: int
    claims: tuple[tuple[ReportName, Instant | None], ...] = ()
    token: str = ""


class KnownResult(NamedTuple):
    """A result as another node tells it, with its laboratory's standing as known there."""

    result: StoredResult
    standing: Standing


class KnownClaim(NamedTuple):
    """What another node knows of a claimed report; `found` None when it has no record of it."""

    found: KnownResult | None
    standing: Standing
    region: str


class SubjectAnswer(NamedTuple):
    """What the nation knows: results newest report first, all keys of the person, claims in order, its sources."""

    results: Sequence[KnownResult]
    subject_keys: Sequence[bytes]
    claims: Sequence[KnownClaim]
    sources: Sequence[Source]


class NationGateway:
    """Asks the national node. An answer is None when it did not come in time."""

    def __init__(self, line: Line, jurisdiction: str) -> None:
        self._line = line
        self._node = format_node(jurisdiction)
        self._patience = Patience(f"{format_node(NATION)}/results")
        self._coalescer: Coalescer[SubjectQuestion, SubjectAnswer | None] = Coalescer(
            self._ask_together, max_batch=MAX_BATCH
        )
        self._late: set[asyncio.Future[SubjectAnswer | None]] = set()

    async def ask_each(self, questions: Sequence[SubjectQuestion]) -> list[SubjectAnswer | Unavailable | None]:
        """Answer questions in order. One with a token is asked alone, and Unavailable when it is not met in time."""
        futures = [
            asyncio.ensure_future(self._ask_alone(question)) if question.token else self._coalescer.ask(question)
            for question in questions
        ]
        await asyncio.wait(futures, timeout=self._patience.seconds())
        return [self._result_of(future) for future in futures]

    def _result_of(self, future: asyncio.Future[SubjectAnswer | None]) -> SubjectAnswer | Unavailable | None:
        if not future.done():
            # Not cancelled: when its answer does come, however late, the nation is trusted again.
            self._patience.lose("no answer in time")
            self._late.add(future)
            future.add_done_callback(self._forget)
            return None
        error = future.exception()
        if isinstance(error, Unavailable):
            return error
        return future.result()

    def _forget(self, future: asyncio.Future[SubjectAnswer | None]) -> None:
        self._late.discard(future)
        if not future.cancelled():
            future.exception()

    async def _ask_alone(self, question: SubjectQuestion) -> SubjectAnswer | None:
        (answer,) = await self._ask_together([question])
        return answer

    async def _ask_together(self, questions: list[SubjectQuestion]) -> list[SubjectAnswer | None]:
        request = LookupSubjectsRequest(
            node=self._node,
            subject_keys=[question.subject_key for question in questions],
            limit=max(question.limit for question in questions),
            at_least_as_fresh=[question.token for question in questions if question.token],
        )
        for question in questions:
            for (lab, report_number), report_time in question.claims:
                claimed = ClaimedReport(lab=format_lab(lab), report_number=report_number)
                if report_time is not None:
                    set_timestamp(claimed.report_time, report_time)
                request.claimed_reports.append(claimed)
        try:
            response = await self._line.stub.LookupSubjects(request, timeout=UPSTREAM_SECONDS)
        except grpc.aio.AioRpcError as error:
            not_fresh = _not_fresh(error)
            if not_fresh is not None:
                self._patience.regain()
                raise not_fresh from None
            self._patience.lose(error.code().name)
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                self._line.renew()
            return [None] * len(questions)
        self._patience.regain()
        return _pair(questions, response)


def _pair(questions: Sequence[SubjectQuestion], response: LookupSubjectsResponse) -> list[SubjectAnswer | None]:
    claims = iter(response.claims)
    answers: list[SubjectAnswer | None] = []
    for question, subject in zip(questions, response.subjects, strict=True):
        own = [next(claims) for _ in question.claims]
        answers.append(
            SubjectAnswer(
                [_known(result) for result in subject.results],
                list(subject.subject_keys),
                [
                    KnownClaim(
                        _known(claim.result) if claim.HasField("result") else None, claim.lab_standing, claim.lab_region
                    )
                    for claim in own
                ],
                response.sources,
            )
        )
    return answers


def _known(message: ReplicatedResult) -> KnownResult:
    return KnownResult(replica_from_proto(message).result, message.test_result.lab_standing)


def _not_fresh(error: grpc.aio.AioRpcError) -> Unavailable | None:
    """The error for a caller whose token the nation could not meet; None when it failed for another reason."""
    info = error_info(error)
    if info is None or info.reason != "NOT_FRESH_ENOUGH":
        return None
    return Unavailable("NOT_FRESH_ENOUGH", error.details() or "", metadata=dict(info.metadata))
