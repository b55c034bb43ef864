"""Look-ups: each is validated by itself, and look-ups that arrive at the same time share one read of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest, BatchLookupColumnsResponse
from hutong.results.internal.v1.lookup_columns_pb2 import LookupColumns
from hutong.results.v1.lookup_pb2 import (
    CLAIMED_REPORT_MATCH_STATE_FOUND,
    CLAIMED_REPORT_MATCH_STATE_NOT_FOUND,
    CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM,
    CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON,
    LOOKUP_SCOPE_NATIONWIDE,
    SOURCE_STATE_NOT_ASKED,
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
from services.domain.names import DEFAULT_ITEM, format_lab, format_node, parse_items, parse_lab
from services.domain.region import NATION
from services.domain.subject import Pepper, holds_resident_number, mask_number
from services.results.fields import document_from_proto
from services.results.labs.model import NOT_AUTHORIZED
from services.results.lookup.columns import fill_columns
from services.results.lookup.merge import stricter
from services.results.lookup.model import LocalMatches, RemoteClaim, SubjectQuestion
from services.results.lookup.nationwide import LookupResult, NationwideLookup, not_fresh
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
"""Sent to other nodes in place of a report number that contains a resident identity number. It matches no report."""


class _Question:
    """One decoded look-up.

    Raises:
        InvalidArgument: a field is invalid.
        Unavailable: NOT_FRESH_ENOUGH, the token is of another service, so that this one never meets it.
    """

    __slots__ = ("claims", "items", "leaves_out_nation", "limit", "masked_number", "nationwide", "subject_key", "token")

    def __init__(self, request: LookupLatestRequest, pepper: Pepper, jurisdiction: str, now: Instant) -> None:
        # Every read of this node's database sees all commits that were acknowledged before it, so a token of this node
        # is always met. A token of another node needs the nation, which knows what other nodes have committed.
        freshness = decode_token(request.at_least_as_fresh, now)
        if freshness is not None and freshness.service != "results":
            raise not_fresh(format_node(jurisdiction))
        document = document_from_proto(request.document)
        elsewhere = freshness is not None and freshness.region != jurisdiction
        self.token = request.at_least_as_fresh if elsewhere else ""
        self.subject_key = pepper.subject_key(document)
        self.limit = request.limit or DEFAULT_LIMIT
        self.items = parse_items(request.items, "items") if request.items else (DEFAULT_ITEM,)
        self.nationwide = elsewhere or request.scope == LOOKUP_SCOPE_NATIONWIDE
        # Without a scope the caller has not chosen LOCAL, so the answer says that the nation was not asked.
        self.leaves_out_nation = not self.nationwide and not request.scope and jurisdiction != NATION
        # Nodes do not exchange masks. The caller has the document, so its mask may be returned.
        self.masked_number = mask_number(document.number) if self.nationwide else ""
        self.claims: list[tuple[ReportName, Instant | None]] = [
            (
                (parse_lab(claim.lab, f"claimed_reports[{index}].lab"), claim.report_number),
                from_timestamp(claim.report_time) if claim.HasField("report_time") else None,
            )
            for index, claim in enumerate(request.claimed_reports)
        ]

    def of_subject(self) -> SubjectQuestion:
        """Return the question as it is sent to other nodes, without the document."""
        claims = tuple(
            ((lab, NO_REPORT if holds_resident_number(number) else number), time) for (lab, number), time in self.claims
        )
        return SubjectQuestion(self.subject_key, self.limit, claims, self.token, self.items)


class LookupHandler:
    """Answers look-ups from this node's store, and nationwide ones also from the nation's."""

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
        self._fill_nationwide(question, response, await self._nationwide.look_up(question.of_subject()))
        return response

    async def look_up_each(self, batch: BatchLookupLatestRequest) -> BatchLookupLatestResponse:
        """Answer several look-ups in order, each by an answer or an error of its own, from one read of the store."""
        response = BatchLookupLatestResponse()
        await self._answer_each(batch, response, None)
        return response

    async def look_up_columns(self, batch: BatchLookupColumnsRequest) -> BatchLookupColumnsResponse:
        """Answer as `look_up_each`, with local look-ups that claim no report in columns."""
        response = BatchLookupColumnsResponse()
        await self._answer_each(batch, response, response.columns)
        return response

    async def _answer_each(
        self,
        batch: BatchLookupLatestRequest | BatchLookupColumnsRequest,
        response: BatchLookupLatestResponse | BatchLookupColumnsResponse,
        columns: LookupColumns | None,
    ) -> None:
        """Fill an empty response with answers. With `columns`, local look-ups that claim no report are put there."""
        now = self._clock.now()
        plain: list[_Question] = []
        local: list[tuple[_Question, LookupLatestItem]] = []
        nationwide: list[tuple[_Question, LookupLatestItem]] = []
        item_indexes: list[int] = []
        for index, (request, fault) in enumerate(zip(batch.requests, check_each(batch), strict=True)):
            try:
                if fault is not None:
                    raise fault
                question = _Question(request, self._pepper, self._jurisdiction, now)
            except HutongError as error:
                response.items.add().error.CopyFrom(to_status(error))
                item_indexes.append(index)
                continue
            if columns is not None and not question.nationwide and not question.claims:
                plain.append(question)
            else:
                (nationwide if question.nationwide else local).append((question, response.items.add()))
                item_indexes.append(index)
        await self._fill(plain, [question for question, _ in local], [item.response for _, item in local], columns)
        if columns is not None:
            columns.item_requests.extend(item_indexes)
        answers = await self._nationwide.look_up_each([question.of_subject() for question, _ in nationwide])
        for (question, item), answer in zip(nationwide, answers, strict=True):
            if isinstance(answer, HutongError):
                item.error.CopyFrom(to_status(answer))
            else:
                self._fill_nationwide(question, item.response, answer)
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
        """Answer from this node's store: plain questions (local, without claims) in columns, others in responses."""
        if not plain and not questions:
            return
        now = self._clock.now()
        reports = sorted({name for question in questions for name, _ in question.claims})
        keys = [question.subject_key for question in (*plain, *questions)]
        items = sorted({item for question in (*plain, *questions) for item in question.items})
        matches = await self._store.find_subjects(keys, reports, now, items)

        def standing_of(result: StoredResult) -> Standing:
            return matches.standing_at(result.lab, result.reference_time)

        if columns is not None and plain:
            _fill_source(columns.sources.add(), self._node, now)
            if any(question.leaves_out_nation for question in plain):
                _fill_not_asked(columns.sources.add())
            latest = [
                self._pick(question, results, standing_of)
                for question, results in zip(plain, matches.by_subject, strict=False)
            ]
            fill_columns(columns, latest, standing_of)
        rest = slice(len(plain), None)
        found = zip(questions, responses, matches.by_subject[rest], matches.subjects[rest], strict=True)
        for question, response, results, subject_keys in found:
            self._fill_latest(question, response, results, standing_of)
            _fill_source(response.sources.add(), self._node, now)
            if question.leaves_out_nation:
                _fill_not_asked(response.sources.add())
            self._fill_claims(question, response, subject_keys, matches, (), now)

    def _fill_nationwide(self, question: _Question, response: LookupLatestResponse, answer: LookupResult) -> None:
        """Answer a nationwide question."""
        standings = {(one.result.lab, one.result.report_number): one.standing for one in answer.results}
        self._fill_latest(
            question,
            response,
            [_masked(one.result, question) for one in answer.results],
            lambda result: standings[result.lab, result.report_number],
        )
        response.sources.extend(answer.sources)
        self._fill_claims(question, response, answer.keys, answer.found.matches, answer.claims, answer.found.time)

    def _fill_latest(
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
        # Look-ups that share a read may ask for other items.
        wanted = [result for result in results if result.item in question.items]
        return pick_latest(
            wanted, self._jurisdiction, question.limit, lambda result: standing_of(result) not in NOT_AUTHORIZED
        )

    def _fill_claims(
        self,
        question: _Question,
        response: LookupLatestResponse,
        keys: Sequence[bytes],
        matches: LocalMatches,
        nationwide: Sequence[RemoteClaim],
        now: Instant,
    ) -> None:
        """Answer claimed reports, by this node's records and, if the nation was asked, by those it returned."""
        for (name, report_time), remote in zip_longest(question.claims, nationwide):
            lab, report_number = name
            claim = response.claims.add(
                lab_standing=matches.standing_at(lab, now if report_time is None else report_time),
                lab_region=matches.region_of(lab),
            )
            records = [matches.by_report[name]] if name in matches.by_report else []
            if remote is not None:
                claim.lab_standing = stricter(claim.lab_standing, remote.standing)
                claim.lab_region = claim.lab_region or remote.region
                if remote.found is not None:
                    records.append(remote.found.result)
            own_records = [record for record in records if record.subject_key in keys]
            record = max(own_records, key=lambda record: record.revision, default=None)
            if record is not None and record.item not in question.items:
                claim.state = CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM
            elif record is not None:
                claim.state = CLAIMED_REPORT_MATCH_STATE_FOUND
                fill_result(claim.result, _masked(record, question), self._standing_of(record, matches, remote))
            elif records:
                claim.state = CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON
            elif matches.horizon is not None and report_time is not None and report_time < matches.horizon:
                # No missing report is recorded, because an upload before the horizon would be refused.
                claim.state = CLAIMED_REPORT_MATCH_STATE_NOT_FOUND
                set_timestamp(claim.retention_start_time, matches.horizon)
            else:
                claim.state = CLAIMED_REPORT_MATCH_STATE_NOT_FOUND
                response.next_steps.append(_upload_report(name, now))
                self._missing_reports.remember(lab, report_number, report_time, now)

    @staticmethod
    def _standing_of(record: StoredResult, matches: LocalMatches, remote: RemoteClaim | None) -> Standing:
        here = matches.standing_at(record.lab, record.reference_time)
        return here if remote is None or remote.found is None else stricter(here, remote.found.standing)


def _masked(result: StoredResult, question: _Question) -> StoredResult:
    """Add the document's masked number to a result that came from another node without one."""
    if result.masked_number or result.subject_key != question.subject_key:
        return result
    return result._replace(masked_number=question.masked_number)


def _fill_source(source: DataSource, node: str, now: Instant) -> None:
    source.node = node
    source.state = SOURCE_STATE_OK
    set_timestamp(source.as_of_time, now)


def _fill_not_asked(source: DataSource) -> None:
    source.node = format_node(NATION)
    source.state = SOURCE_STATE_NOT_ASKED


def _upload_report(name: ReportName, now: Instant) -> NextStep:
    lab, report_number = name
    return NextStep(
        action=NEXT_STEP_ACTION_UPLOAD_REPORT,
        lab=format_lab(lab),
        report_number=report_number,
        description="its holder has this report in hand and no record of it is here: ask the laboratory to upload it",
        create_time=to_timestamp(now),
    )
