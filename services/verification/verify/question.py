"""A question as a gate puts it, decoded and found answerable: whose result, where, for what, when, on what evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.lookup_pb2 import ClaimedReport
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.type.v1.identity_pb2 import IdentityDocument
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong.verification.v1.verification_service_pb2 import VerifyRequest

from services.domain.document import BadDocument, canonical_document
from services.domain.errors import InvalidArgument, Violation
from services.domain.instant import DAY, FIRST_TESTS, Instant, Span, from_timestamp, set_timestamp
from services.domain.names import is_report_number, is_uscc
from services.domain.region import is_region
from services.runtime.consistency import Freshness, decode_token
from services.verification.decision.convert import evidence_from_proto
from services.verification.decision.evidence import canonical_report_number
from services.verification.decision.model import Evidence

_EARLIEST = -2_208_988_800
"""1900-01-01T00:00:00Z in seconds: no instant here lies before it."""
_LATEST = 221_845_392_000
"""9000-01-01T00:00:00Z in seconds: a window counted from before it still ends in a year that RFC 3339 can write."""

LOOKED_AT = 10
"""Of a person's results from each side: daily tests for longer than any window, also as seen from some days ago."""
LOOKED_AT_OF_THE_PAST = 20
"""The same for a use in the past, after which other tests followed: as many as a look-up gives."""
PAST: Span = DAY
"""How long ago a use lies in the past: in less time nobody is tested more often than is looked at."""

Place: TypeAlias = tuple[str, int, str]
"""Region, purpose and province of origin: no policy knows a finer origin."""


class PolicyQuestion(NamedTuple):
    """Which policy applies: where, for what, to whom, when. `seen` is what its source must have seen too."""

    region: str
    purpose: int
    arriving_from: str
    use_time: Instant
    seen: Freshness | None

    @property
    def place(self) -> Place:
        """For which question about policies this is one of many."""
        return self.region, self.purpose, self.arriving_from[:2]


class Question(NamedTuple):
    """One question, ready to be put to the sources. Holds the document as it was sent, for Results alone."""

    policy: PolicyQuestion
    look_up: LookupLatestRequest
    evidence_messages: Sequence[PresentedEvidence]
    evidence: tuple[Evidence, ...]
    evaluate_time: Instant
    record: bool

    def __repr__(self) -> str:
        return f"Question({self.policy!r})"


def question_from_proto(request: VerifyRequest, now: Instant) -> Question:
    """Decode a request that keeps the rules of its .proto.

    Raises:
        InvalidArgument: a document number, region, laboratory, time or token that cannot be right; all of them at once.
    """
    found: list[Violation] = []
    check_document(request.document, found)
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
    if found:
        raise InvalidArgument.of(found)
    look_up = LookupLatestRequest(limit=LOOKED_AT if now - use_time < PAST else LOOKED_AT_OF_THE_PAST)
    # The name stays here: it finds nobody.
    look_up.document.CopyFrom(request.document)
    look_up.document.name = ""
    if request.scope:
        look_up.scope = request.scope
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
        if report.lab and report.report_number:
            look_up.claimed_reports.append(_claimed(report))
    return Question(
        PolicyQuestion(
            request.region,
            request.purpose,
            request.arriving_from or request.region,
            use_time,
            seen,
        ),
        look_up,
        shown,
        evidence,
        now,
        request.record,
    )


def check_document(document: IdentityDocument, found: list[Violation]) -> None:
    """Find a number that cannot be right, so that it is told even while Results is away."""
    try:
        canonical_document(document.type, document.number, document.issuing_country)
    except BadDocument as error:
        found.append(Violation(f"document.{error.field}", "BAD_DOCUMENT_NUMBER", error.expected))


def check_region(region: str, field: str, found: list[Violation]) -> None:
    """Find a code that is no region."""
    if not is_region(region):
        found.append(Violation(field, "REGION_UNKNOWN", "is not a region of GB/T 2260"))


def check_time(time: Timestamp, field: str, found: list[Violation]) -> None:
    """Find a time outside all calendars."""
    if not (_EARLIEST <= time.seconds < _LATEST and 0 <= time.nanos < 1_000_000_000):
        found.append(Violation(field, "INVALID_FIELD", "must lie between the years 1900 and 9000"))


def check_text(text: str, field: str, found: list[Violation]) -> None:
    """Find a NUL character, which PostgreSQL cannot keep."""
    if "\0" in text:
        found.append(Violation(field, "INVALID_FIELD", "must not hold a NUL character"))


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


def _claimed(evidence: Evidence) -> ClaimedReport:
    claimed = ClaimedReport(lab=evidence.lab, report_number=evidence.report_number)
    # A sampling record has no report yet: its laboratory must have been authorised when the specimen was taken.
    time = evidence.sample_time if evidence.report_time is None else evidence.report_time
    if time is not None:
        set_timestamp(claimed.report_time, time)
    return claimed
