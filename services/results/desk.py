"""Where look-ups arrive: each is judged by itself, and those that arrive together share one read of the store."""

from __future__ import annotations

from collections.abc import Sequence

from hutong.results.v1.follow_up_pb2 import FOLLOW_UP_ACTION_UPLOAD_REPORT, FollowUp
from hutong.results.v1.lookup_pb2 import (
    CLAIM_STATE_FOUND,
    CLAIM_STATE_NOT_FOUND,
    CLAIM_STATE_OTHER_PERSON,
    SCOPE_NATIONWIDE,
    SOURCE_STATE_NOT_CONFIGURED,
    SOURCE_STATE_OK,
    Claim,
)
from hutong.results.v1.result_pb2 import TestResult
from hutong.results.v1.results_service_pb2 import BatchLookupLatestResponse, LookupLatestRequest, LookupLatestResponse

from services.domain.errors import HutongError, InvalidArgument, Unavailable, Violation
from services.domain.instant import Instant, from_timestamp, set_timestamp, to_timestamp
from services.domain.names import format_lab, format_node, parse_lab
from services.domain.region import NATION
from services.domain.subject import Pepper
from services.results.convert import document_from_proto, fill_result
from services.results.lookup import DEFAULT_LIMIT, pick_latest
from services.results.model import NOT_AUTHORIZED, StoredResult
from services.results.reading import ReportName
from services.results.store import Findings, Store
from services.runtime.channels import MAX_MESSAGE_BYTES
from services.runtime.clock import Clock
from services.runtime.coalesce import Coalescer
from services.runtime.freshness import decode_token
from services.runtime.status import to_status
from services.runtime.validation import check_each


class _Question:
    """One look-up, decoded. Raises InvalidArgument when it cannot be put."""

    __slots__ = ("claims", "limit", "nationwide", "subject_key")

    def __init__(self, request: LookupLatestRequest, pepper: Pepper, jurisdiction: str, now: Instant) -> None:
        # Reads of this node's own database see every commit acknowledged before them: whatever token a caller holds of
        # this node is honoured by reading at all. What another node has committed is not known here.
        freshness = decode_token(request.at_least_as_fresh, now)
        if freshness is not None and (freshness.service, freshness.region) != ("results", jurisdiction):
            raise Unavailable(
                "NOT_FRESH_ENOUGH",
                "this node does not see what the token stands for",
                metadata={"node": f"{format_node(jurisdiction)}/results"},
            )
        self.subject_key = pepper.subject_key(document_from_proto(request.document))
        self.limit = request.limit or DEFAULT_LIMIT
        self.nationwide = request.scope == SCOPE_NATIONWIDE
        self.claims: list[tuple[ReportName, Instant | None]] = [
            (
                (parse_lab(claim.lab, f"claimed_reports[{index}].lab"), claim.report_number),
                from_timestamp(claim.report_time) if claim.HasField("report_time") else None,
            )
            for index, claim in enumerate(request.claimed_reports)
        ]


class LookupDesk:
    """Answers look-ups from a node's own store."""

    def __init__(self, store: Store, pepper: Pepper, jurisdiction: str, clock: Clock) -> None:
        self._store = store
        self._pepper = pepper
        self._jurisdiction = jurisdiction
        self._node = format_node(jurisdiction)
        self._clock = clock
        self._coalescer: Coalescer[_Question, LookupLatestResponse] = Coalescer(self._answer)

    async def look_up(self, request: LookupLatestRequest) -> LookupLatestResponse:
        """Answer one look-up, together with others that arrive at the same time."""
        return await self._coalescer.ask(_Question(request, self._pepper, self._jurisdiction, self._clock.now()))

    async def look_up_each(self, requests: Sequence[LookupLatestRequest]) -> BatchLookupLatestResponse:
        """Answer several look-ups in order, each with its answer or its own error, in one read of the store."""
        response = BatchLookupLatestResponse()
        questions: list[_Question] = []
        targets: list[LookupLatestResponse] = []
        for request, broken in zip(requests, check_each(requests), strict=True):
            item = response.items.add()
            try:
                if broken is not None:
                    raise broken
                questions.append(_Question(request, self._pepper, self._jurisdiction, self._clock.now()))
                targets.append(item.response)
            except HutongError as error:
                item.error.CopyFrom(to_status(error))
        await self._fill(questions, targets)
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            text = f"their answers have over {MAX_MESSAGE_BYTES} bytes; ask for fewer persons or results at once"
            raise InvalidArgument(
                "BATCH_TOO_LARGE",
                f"requests: {text}",
                violations=[Violation("requests", "BATCH_TOO_LARGE", text)],
                metadata={"field": "requests", "limit": str(MAX_MESSAGE_BYTES)},
            )
        return response

    async def _answer(self, questions: list[_Question]) -> list[LookupLatestResponse]:
        responses = [LookupLatestResponse() for _ in questions]
        await self._fill(questions, responses)
        return responses

    async def _fill(self, questions: Sequence[_Question], responses: Sequence[LookupLatestResponse]) -> None:
        """Answer each question in its response."""
        if not questions:
            return
        now = self._clock.now()
        reports = sorted({name for question in questions for name, _ in question.claims})
        findings = await self._store.find_persons([question.subject_key for question in questions], reports, now)
        found = zip(questions, responses, findings.by_person, findings.persons, strict=True)
        for question, response, results, keys in found:
            self._compose(question, response, results, keys, findings, now)

    def _compose(
        self,
        question: _Question,
        response: LookupLatestResponse,
        results: Sequence[StoredResult],
        keys: Sequence[bytes],
        findings: Findings,
        now: Instant,
    ) -> None:
        latest = pick_latest(
            results,
            self._jurisdiction,
            question.limit,
            lambda result: findings.standing_at(result.lab, result.file_time) not in NOT_AUTHORIZED,
        )
        for result in latest.in_region:
            _tell(result, findings, response.in_region.add())
        for result in latest.out_of_region:
            _tell(result, findings, response.out_of_region.add())
        source = response.sources.add()
        source.source = self._node
        source.state = SOURCE_STATE_OK
        set_timestamp(source.as_of_time, now)
        if question.nationwide and self._jurisdiction != NATION:
            response.sources.add(source=format_node(NATION), state=SOURCE_STATE_NOT_CONFIGURED)
        for name, report_time in question.claims:
            claim = _claim(name, report_time, keys, findings, now)
            response.claims.append(claim)
            if claim.state == CLAIM_STATE_NOT_FOUND:
                response.follow_ups.append(_reminder(name, now))


def _tell(result: StoredResult, findings: Findings, message: TestResult) -> None:
    fill_result(message, result, findings.standing_at(result.lab, result.file_time))


def _claim(
    name: ReportName, report_time: Instant | None, keys: Sequence[bytes], findings: Findings, now: Instant
) -> Claim:
    lab, _ = name
    claim = Claim(
        lab_standing=findings.standing_at(lab, now if report_time is None else report_time),
        lab_region=findings.region_of(lab),
    )
    result = findings.by_report.get(name)
    if result is None:
        claim.state = CLAIM_STATE_NOT_FOUND
    elif result.subject_key not in keys:
        claim.state = CLAIM_STATE_OTHER_PERSON
    else:
        claim.state = CLAIM_STATE_FOUND
        _tell(result, findings, claim.result)
    return claim


def _reminder(name: ReportName, now: Instant) -> FollowUp:
    lab, report_number = name
    return FollowUp(
        action=FOLLOW_UP_ACTION_UPLOAD_REPORT,
        lab=format_lab(lab),
        report_number=report_number,
        description="its holder has this report in hand and no record of it is here: ask the laboratory to upload it",
        create_time=to_timestamp(now),
    )
