"""Where look-ups arrive: each is judged by itself, and those that arrive together share one read of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest, BatchLookupColumnsResponse
from hutong.results.internal.v1.lookup_columns_pb2 import LookupColumns
from hutong.results.v1.lookup_pb2 import (
    CLAIMED_REPORT_MATCH_STATE_FOUND,
    CLAIMED_REPORT_MATCH_STATE_NOT_FOUND,
    CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON,
    LOOKUP_SCOPE_NATIONWIDE,
    SOURCE_STATE_OK,
    DataSource,
)
from hutong.results.v1.next_step_pb2 import NEXT_STEP_ACTION_UPLOAD_REPORT, NextStep
from hutong.results.v1.results_service_pb2 import (
    BatchLookupLatestRequest,
    BatchLookupLatestResponse,
    LookupLatestItem,
    LookupLatestRequest,
    LookupLatestResponse,
)

from services.domain.errors import HutongError, InvalidArgument, Violation
from services.domain.instant import Instant, from_timestamp, set_timestamp, to_timestamp
from services.domain.names import format_lab, format_node, parse_lab
from services.domain.subject import Pepper, holds_resident_number, mask_number
from services.results.fields import document_from_proto
from services.results.labs.model import NOT_AUTHORIZED
from services.results.lookup.columns import fill_columns
from services.results.lookup.merge import stricter
from services.results.lookup.model import LocalMatches, RemoteClaim, SubjectQuestion
from services.results.lookup.nationwide import Known, NationwideLookup, not_fresh
from services.results.lookup.pick import DEFAULT_LIMIT, LatestResults, pick_latest
from services.results.lookup.store import LookupStore
from services.results.missing_reports.queue import MissingReportQueue
from services.results.records.convert import fill_result
from services.results.records.model import ReportName, StoredResult
from services.runtime.client.coalescer import Coalescer
from services.runtime.clock import Clock
from services.runtime.consistency import decode_token
from services.runtime.limits import MAX_MESSAGE_BYTES
from services.runtime.server.status import to_status
from services.runtime.server.validation import check_each

if TYPE_CHECKING:
    from services.results.labs.model import Standing


NO_REPORT = "*"
"""What crosses in place of a claimed report's number into which somebody has typed a document's: it finds nothing."""


class _Question:
    """One look-up, decoded. Raises InvalidArgument when it cannot be put."""

    __slots__ = ("claims", "limit", "masked_number", "nationwide", "subject_key", "token")

    def __init__(self, request: LookupLatestRequest, pepper: Pepper, jurisdiction: str, now: Instant) -> None:
        # Reads of this node's own database see every commit acknowledged before them: whatever token a caller holds of
        # this node is honoured by reading at all. What another node has committed is known at the nation.
        freshness = decode_token(request.at_least_as_fresh, now)
        if freshness is not None and freshness.service != "results":
            raise not_fresh(format_node(jurisdiction))
        document = document_from_proto(request.document)
        elsewhere = freshness is not None and freshness.region != jurisdiction
        self.token = request.at_least_as_fresh if elsewhere else ""
        self.subject_key = pepper.subject_key(document)
        self.limit = request.limit or DEFAULT_LIMIT
        self.nationwide = elsewhere or request.scope == LOOKUP_SCOPE_NATIONWIDE
        # Masks do not cross between nodes; who asks has shown the document.
        self.masked_number = mask_number(document.number) if self.nationwide else ""
        self.claims: list[tuple[ReportName, Instant | None]] = [
            (
                (parse_lab(claim.lab, f"claimed_reports[{index}].lab"), claim.report_number),
                from_timestamp(claim.report_time) if claim.HasField("report_time") else None,
            )
            for index, claim in enumerate(request.claimed_reports)
        ]

    def of_subject(self) -> SubjectQuestion:
        """The same without the document, as other nodes are asked."""
        claims = tuple(
            ((lab, NO_REPORT if holds_resident_number(number) else number), time) for (lab, number), time in self.claims
        )
        return SubjectQuestion(self.subject_key, self.limit, claims, self.token)


class LookupHandler:
    """Answers look-ups from a node's own store, and nationwide ones from the nation's as well."""

    def __init__(
        self,
        store: LookupStore,
        pepper: Pepper,
        jurisdiction: str,
        clock: Clock,
        missing_reports: MissingReportQueue,
        nationwide: NationwideLookup,
    ) -> None:
        self._store = store
        self._missing_reports = missing_reports
        self._pepper = pepper
        self._jurisdiction = jurisdiction
        self._node = format_node(jurisdiction)
        self._clock = clock
        self._nationwide = nationwide
        self._coalescer: Coalescer[_Question, LookupLatestResponse] = Coalescer(self._answer)

    async def look_up(self, request: LookupLatestRequest) -> LookupLatestResponse:
        """Answer one look-up, together with others that arrive at the same time."""
        question = _Question(request, self._pepper, self._jurisdiction, self._clock.now())
        if not question.nationwide:
            return await self._coalescer.ask(question)
        response = LookupLatestResponse()
        self._tell_known(question, response, await self._nationwide.know(question.of_subject()))
        return response

    async def look_up_each(self, batch: BatchLookupLatestRequest) -> BatchLookupLatestResponse:
        """Answer several look-ups in order, each with its answer or its own error, in one read of the store."""
        response = BatchLookupLatestResponse()
        await self._answer_each(batch, response, None)
        return response

    async def look_up_columns(self, batch: BatchLookupColumnsRequest) -> BatchLookupColumnsResponse:
        """The same, in columns where answers can be: those from this node's store alone that claim no report."""
        response = BatchLookupColumnsResponse()
        await self._answer_each(batch, response, response.columns)
        return response

    async def _answer_each(
        self,
        batch: BatchLookupLatestRequest | BatchLookupColumnsRequest,
        response: BatchLookupLatestResponse | BatchLookupColumnsResponse,
        columns: LookupColumns | None,
    ) -> None:
        """Put the answers into an empty response, those that can be into its columns where it has them."""
        now = self._clock.now()
        plain: list[_Question] = []
        local: list[tuple[_Question, LookupLatestItem]] = []
        nationwide: list[tuple[_Question, LookupLatestItem]] = []
        apart: list[int] = []
        for index, (request, broken) in enumerate(zip(batch.requests, check_each(batch), strict=True)):
            try:
                if broken is not None:
                    raise broken
                question = _Question(request, self._pepper, self._jurisdiction, now)
            except HutongError as error:
                response.items.add().error.CopyFrom(to_status(error))
                apart.append(index)
                continue
            if columns is not None and not question.nationwide and not question.claims:
                plain.append(question)
            else:
                (nationwide if question.nationwide else local).append((question, response.items.add()))
                apart.append(index)
        await self._fill(plain, [question for question, _ in local], [item.response for _, item in local], columns)
        if columns is not None:
            columns.item_requests.extend(apart)
        each_known = await self._nationwide.know_each([question.of_subject() for question, _ in nationwide])
        for (question, item), known in zip(nationwide, each_known, strict=True):
            if isinstance(known, HutongError):
                item.error.CopyFrom(to_status(known))
            else:
                self._tell_known(question, item.response, known)
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            text = f"their answers have over {MAX_MESSAGE_BYTES} bytes; ask for fewer persons or results at once"
            raise InvalidArgument(
                "BATCH_TOO_LARGE",
                f"requests: {text}",
                violations=[Violation("requests", "BATCH_TOO_LARGE", text)],
                metadata={"field": "requests", "limit": str(MAX_MESSAGE_BYTES)},
            )

    async def _answer(self, questions: list[_Question]) -> list[LookupLatestResponse]:
        responses = [LookupLatestResponse() for _ in questions]
        await self._fill((), questions, responses, None)
        return responses

    async def _fill(
        self,
        plain: Sequence[_Question],
        questions: Sequence[_Question],
        responses: Sequence[LookupLatestResponse],
        columns: LookupColumns | None,
    ) -> None:
        """Answer from this node's store alone: plain questions in columns, others in their responses."""
        if not plain and not questions:
            return
        now = self._clock.now()
        reports = sorted({name for question in questions for name, _ in question.claims})
        keys = [question.subject_key for question in (*plain, *questions)]
        findings = await self._store.find_subjects(keys, reports, now)

        def standing_of(result: StoredResult) -> Standing:
            return findings.standing_at(result.lab, result.reference_time)

        if columns is not None and plain:
            _fill_source(columns.sources.add(), self._node, now)
            latest = [
                self._pick(question, results, standing_of)
                for question, results in zip(plain, findings.by_subject, strict=False)
            ]
            fill_columns(columns, latest, standing_of)
        rest = slice(len(plain), None)
        found = zip(questions, responses, findings.by_subject[rest], findings.subjects[rest], strict=True)
        for question, response, results, theirs in found:
            self._tell_latest(question, response, results, standing_of)
            _fill_source(response.sources.add(), self._node, now)
            self._tell_claims(question, response, theirs, findings, (), now)

    def _tell_known(self, question: _Question, response: LookupLatestResponse, known: Known) -> None:
        """Answer a question in its response, from what the whole country knows."""
        standings = {(one.result.lab, one.result.report_number): one.standing for one in known.results}
        self._tell_latest(
            question,
            response,
            [_masked(one.result, question) for one in known.results],
            lambda result: standings[result.lab, result.report_number],
        )
        response.sources.extend(known.sources)
        self._tell_claims(question, response, known.keys, known.found.findings, known.claims, known.found.time)

    def _tell_latest(
        self,
        question: _Question,
        response: LookupLatestResponse,
        results: Sequence[StoredResult],
        standing_of: Callable[[StoredResult], Standing],
    ) -> None:
        latest = self._pick(question, results, standing_of)
        for result in latest.in_region:
            fill_result(response.in_region.add(), result, standing_of(result))
        for result in latest.out_of_region:
            fill_result(response.out_of_region.add(), result, standing_of(result))

    def _pick(
        self, question: _Question, results: Sequence[StoredResult], standing_of: Callable[[StoredResult], Standing]
    ) -> LatestResults:
        return pick_latest(
            results, self._jurisdiction, question.limit, lambda result: standing_of(result) not in NOT_AUTHORIZED
        )

    def _tell_claims(
        self,
        question: _Question,
        response: LookupLatestResponse,
        keys: Sequence[bytes],
        findings: LocalMatches,
        nationwide: Sequence[RemoteClaim],
        now: Instant,
    ) -> None:
        """Answer claimed reports, by what is known here and, where it was asked, at the nation."""
        for (name, report_time), known in zip_longest(question.claims, nationwide):
            lab, report_number = name
            claim = response.claims.add(
                lab_standing=findings.standing_at(lab, now if report_time is None else report_time),
                lab_region=findings.region_of(lab),
            )
            records = [findings.by_report[name]] if name in findings.by_report else []
            if known is not None:
                claim.lab_standing = stricter(claim.lab_standing, known.standing)
                claim.lab_region = claim.lab_region or known.region
                if known.found is not None:
                    records.append(known.found.result)
            theirs = [record for record in records if record.subject_key in keys]
            if theirs:
                claim.state = CLAIMED_REPORT_MATCH_STATE_FOUND
                record = max(theirs, key=lambda record: record.revision)
                fill_result(claim.result, _masked(record, question), self._standing_of(record, findings, known))
            elif records:
                claim.state = CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON
            elif findings.horizon is not None and report_time is not None and report_time < findings.horizon:
                # Nobody is to upload what would be refused.
                claim.state = CLAIMED_REPORT_MATCH_STATE_NOT_FOUND
                set_timestamp(claim.retention_start_time, findings.horizon)
            else:
                claim.state = CLAIMED_REPORT_MATCH_STATE_NOT_FOUND
                response.next_steps.append(_upload_report(name, now))
                self._missing_reports.remember(lab, report_number, report_time, now)

    @staticmethod
    def _standing_of(record: StoredResult, findings: LocalMatches, known: RemoteClaim | None) -> Standing:
        here = findings.standing_at(record.lab, record.reference_time)
        return here if known is None or known.found is None else stricter(here, known.found.standing)


def _masked(result: StoredResult, question: _Question) -> StoredResult:
    """With the masked number of the document that was asked about, where it came from elsewhere without one."""
    if result.masked_number or result.subject_key != question.subject_key:
        return result
    return result._replace(masked_number=question.masked_number)


def _fill_source(source: DataSource, node: str, now: Instant) -> None:
    source.node = node
    source.state = SOURCE_STATE_OK
    set_timestamp(source.as_of_time, now)


def _upload_report(name: ReportName, now: Instant) -> NextStep:
    lab, report_number = name
    return NextStep(
        action=NEXT_STEP_ACTION_UPLOAD_REPORT,
        lab=format_lab(lab),
        report_number=report_number,
        description="its holder has this report in hand and no record of it is here: ask the laboratory to upload it",
        create_time=to_timestamp(now),
    )
