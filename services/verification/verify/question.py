"""A question as a gate puts it, decoded and found answerable: whose result, where, for what, when, on what evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_LOCAL, ClaimedReport
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong.verification.v1.verification_service_pb2 import VerifyRequest

from services.domain.document import Document
from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_document, check_region, check_time
from services.domain.instant import DAY, FIRST_TESTS, Instant, Span, from_timestamp, set_timestamp
from services.domain.names import DEFAULT_ITEM, is_report_number, is_uscc
from services.domain.region import NATION
from services.runtime.consistency import Freshness, decode_token
from services.verification.decision.convert import evidence_from_proto
from services.verification.decision.evidence import canonical_report_number
from services.verification.decision.model import Evidence
from services.verification.sources.model import PolicyQuestion

LOOKED_AT = 10
"""Of a person's results from each side: daily tests for longer than any window, also as seen from some days ago."""
LOOKED_AT_OF_THE_PAST = 20
"""The same for a use in the past, after which other tests followed: as many as a look-up gives."""
PAST: Span = DAY
"""How long ago a use lies in the past: in less time nobody is tested more often than is looked at."""


ITEMS = frozenset({DEFAULT_ITEM})
"""Ids of the items that are looked up. A look-up that names no item is of these."""


class Question(NamedTuple):
    """One question, ready to be put to the sources.

    `document` is canonical. `look_up` holds the document as it was sent, for Results alone. `own_records_first`: the
    scope is unset, so the nation is asked only if the node's own records do not recognise the person.
    """

    document: Document
    policy: PolicyQuestion
    look_up: LookupLatestRequest
    evidence_messages: Sequence[PresentedEvidence]
    evidence: tuple[Evidence, ...]
    evaluate_time: Instant
    store_decision: bool
    own_records_first: bool

    def __repr__(self) -> str:
        return f"Question({self.policy!r})"


def question_from_proto(request: VerifyRequest, now: Instant) -> Question:
    """Decode a request that keeps the rules of its .proto.

    Raises:
        InvalidArgument: a document number, region, laboratory, time or token that cannot be right; all of them at once.
    """
    found: list[Violation] = []
    document = check_document(request.document, "document", found)
    check_region(request.region, "region", found)
    if request.arriving_from:
        check_region(request.arriving_from, "arriving_from", found)
    use_time = now
    if request.HasField("use_time"):
        check_time(request.use_time, "use_time", found)
        use_time = from_timestamp(request.use_time)
    shown = request.evidence
    if shown:
        for index, each in enumerate(shown):
            _check_evidence(each, f"evidence[{index}]", found)
    if found or document is None:
        raise InvalidArgument.of(found)
    look_up = LookupLatestRequest(limit=LOOKED_AT if now - use_time < PAST else LOOKED_AT_OF_THE_PAST)
    # The name stays here: it finds nobody.
    look_up.document.CopyFrom(request.document)
    look_up.document.name = ""
    # Left unset, the node's own records are looked up first.
    look_up.scope = request.scope or LOOKUP_SCOPE_LOCAL
    seen: Freshness | None = None
    token = request.at_least_as_fresh
    if token:
        freshness = decode_token(token, now)
        if freshness is not None and freshness.service == "results":
            look_up.at_least_as_fresh = token
        elif freshness is not None and freshness.service == "policy":
            seen = freshness
    evidence = tuple([evidence_from_proto(each) for each in shown]) if shown else ()
    for report in evidence:
        if is_looked_up(report):
            look_up.claimed_reports.append(_claimed(report))
    return Question(
        document,
        PolicyQuestion(
            request.region,
            request.purpose,
            "" if request.arriving_from == NATION else request.arriving_from,
            use_time,
            seen,
        ),
        look_up,
        shown,
        evidence,
        now,
        request.store_decision,
        not request.scope,
    )


def _check_evidence(evidence: PresentedEvidence, field: str, found: list[Violation]) -> None:
    if evidence.lab and not is_uscc(evidence.lab.removeprefix("labs/")):
        found.append(Violation(f"{field}.lab", "BAD_USCC", "the check character is wrong"))
    number = canonical_report_number(evidence.report_number)
    if number and not (number.isprintable() and is_report_number(number)):
        text = "no report has such a number: it holds a space, a slash, an @ or what cannot be seen"
        found.append(Violation(f"{field}.report_number", "INVALID_FIELD", text))
    for name in ("sample_time", "report_time"):
        if evidence.HasField(name):
            time: Timestamp = getattr(evidence, name)
            check_time(time, f"{field}.{name}", found)
            if from_timestamp(time) < FIRST_TESTS:
                found.append(Violation(f"{field}.{name}", "INVALID_FIELD", "is before anybody was tested"))


def is_looked_up(evidence: Evidence) -> bool:
    """Whether Results is asked for the record of evidence. Evidence of an item outside ITEMS is not looked up."""
    return bool(evidence.lab and evidence.report_number) and evidence.item in ITEMS


def _claimed(evidence: Evidence) -> ClaimedReport:
    claimed = ClaimedReport(lab=evidence.lab, report_number=evidence.report_number)
    # A sampling record has no report yet: its laboratory must have been authorised when the specimen was taken.
    time = evidence.sample_time if evidence.report_time is None else evidence.report_time
    if time is not None:
        set_timestamp(claimed.report_time, time)
    return claimed
