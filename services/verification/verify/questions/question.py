"""A gate's question, decoded and checked: the document, the region, the purpose, the use time and the evidence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_LOCAL, ClaimedReport
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong_client.reports.signed import SealedReport
from hutong_texts import english

from services.domain.document import Document
from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_document, check_region, check_time
from services.domain.instant import DAY, FIRST_TESTS, Instant, Span, from_timestamp, set_timestamp
from services.domain.names import DEFAULT_ITEM, is_report_number, is_uscc, parse_items
from services.domain.normal_form import normal_form
from services.domain.person_name import has_person_name_form
from services.domain.region import NATION
from services.domain.subject import Pepper, holds_resident_number
from services.runtime.call import Call, presenter_of
from services.runtime.consistency import CommitPosition, decode_token
from services.verification.decision.convert import evidence_from_proto
from services.verification.decision.evidence import canonical_report_number
from services.verification.decision.model import PENDING, Evidence
from services.verification.holder_tokens.seal import HolderToken, TokenSeal
from services.verification.showings.examine import Verdict
from services.verification.sources.model import LookUp, PolicyQuestion
from services.verification.verify.questions.asker import FULL, Asker, View
from services.verification.verify.questions.signed import read_signed

LOOKED_AT = 10
"""How many results from inside and from outside the region are looked up.

Ten daily tests reach further back than any window.
"""
LOOKED_AT_OF_THE_PAST = 20
"""The same number for a use time in the past. It is larger, because tests after the use time come first in the answer.
No look-up returns more results."""
PAST_AFTER: Span = DAY
"""A use time this long ago or longer is in the past. No person takes `LOOKED_AT` tests in less time."""


class Question(NamedTuple):
    """One question, ready for the sources.

    Attributes:
        document: the canonical document; None if a token was shown.
        token: the token that was shown in place of a document; None for none.
        look_up: the question to Results. It asks for the default item alone until `set_items` names other items.
        own_records_first: whether the scope is unset, so that the nation is asked only if the node's own records do not
            suffice.
        view: how much of the decision the answer has.
        call: the call that asks; None outside a call.
        signed: for each piece of evidence its signed report, or None for a piece without a signed report; empty if no
            piece has a signed report.
        number: the number of the document or of the token's document as it was sent, if a report is signed; else empty.
        verdicts: what another node has found of the signatures of the evidence; empty if it has found nothing.
    """

    document: Document | None
    policy: PolicyQuestion
    look_up: LookUp
    evidence_messages: Sequence[PresentedEvidence]
    evidence: tuple[Evidence, ...]
    evaluate_time: Instant
    store_decision: bool
    own_records_first: bool
    view: View = FULL
    token: HolderToken | None = None
    call: Call | None = None
    signed: tuple[SealedReport | None, ...] = ()
    number: str = ""
    verdicts: Sequence[Verdict] = ()

    def subject_key(self, pepper: Pepper) -> bytes:
        """Return the key of the subject."""
        return self.look_up.keys(pepper)[0] if self.token is None else self.token.subject_key

    def subject_keys(self, pepper: Pepper) -> list[tuple[Pepper, bytes]]:
        """Return the key of the subject under each version of the pepper. A token may have only one of these keys."""
        if self.token is not None:
            keys = [key for key in (self.token.subject_key, self.token.other_key) if key]
            return list(zip(pepper.versions, keys, strict=False))
        assert self.document is not None
        return [(one, one.subject_key(self.document)) for one in pepper.versions]

    def __repr__(self) -> str:
        return f"Question({self.policy!r})"


_new_policy_question = partial(tuple.__new__, PolicyQuestion)
_new_question = partial(tuple.__new__, Question)
"""Make tuples with names from plain tuples of all fields, in half the time of the constructors."""


def question_from_proto(
    request: VerifyRequest, now: Instant, asker: Asker, seal: TokenSeal, holder: HolderToken | None = None
) -> Question:
    """Decode a request that already satisfies the validation rules of its .proto.

    `holder` has the subject keys if another node has sent them in place of a document.

    Raises:
        PermissionDenied: the asker may not see as much as it asks for.
        InvalidArgument: a document number, region, laboratory or time is wrong, with all faults at once; or the token
            is malformed.
    """
    found: list[Violation] = []
    view = asker.view_of(request.view)
    document: Document | None = None
    shown_token = holder
    if request.holder_token:
        shown_token = seal.read(request.holder_token, request.purpose, now, found)
    elif holder is None:
        stated = request.document
        document = check_document(stated, "document", found)
        if asker.needs_name and not has_person_name_form(stated.name):
            text = english("value is required of a caller of this role: the name as printed on the document")
            found.append(Violation("document.name", "INVALID_FIELD", text))
    region, arriving_from = request.region, request.arriving_from
    check_region(region, "region", found)
    if arriving_from:
        check_region(arriving_from, "arriving_from", found)
    use_time = now
    if request.HasField("use_time"):
        check_time(request.use_time, "use_time", found)
        use_time = from_timestamp(request.use_time)
    shown: Sequence[PresentedEvidence] = request.evidence
    signed: tuple[SealedReport | None, ...] = ()
    if shown:
        shown, signed = read_signed(shown, found)
        for index, each in enumerate(shown):
            _check_evidence(each, f"evidence[{index}]", found)
    if found:
        raise InvalidArgument.of(found)
    # If the scope is unset, the node's own records are looked up first.
    scope = request.scope
    look_up = LookUp(
        None if document is None else request.document,
        document,
        request.document.name if document is not None and asker.compares_name else "",
        LOOKED_AT if now - use_time < PAST_AFTER else LOOKED_AT_OF_THE_PAST,
        scope or LOOKUP_SCOPE_LOCAL,
        (b"", b"") if shown_token is None else (shown_token.subject_key, shown_token.other_key),
    )
    seen: CommitPosition | None = None
    token = request.at_least_as_fresh
    if token:
        commit = decode_token(token)
        if commit is not None and commit.service == "results":
            look_up.at_least_as_fresh = token
        elif commit is not None and commit.service == "policy":
            seen = commit
    evidence: tuple[Evidence, ...] = ()
    if shown:
        evidence = tuple([evidence_from_proto(each) for each in shown])
        if asker.call is not None:
            look_up.presenter = presenter_of(asker.call.caller)
        _add_claimed_reports(look_up, evidence, signed)
    origin = "" if arriving_from == NATION else arriving_from
    policy = _new_policy_question((region, request.purpose, origin, use_time, seen))
    number = ""
    if any(signed):
        number = request.document.number if shown_token is None else shown_token.number
    return _new_question(
        (
            document,
            policy,
            look_up,
            shown,
            evidence,
            now,
            request.store_decision,
            not scope,
            view,
            shown_token,
            asker.call,
            signed,
            number,
            (),
        )
    )


def _check_evidence(evidence: PresentedEvidence, field: str, found: list[Violation]) -> None:
    if evidence.lab and not is_uscc(evidence.lab.removeprefix("labs/")):
        found.append(Violation(f"{field}.lab", "BAD_USCC", english("the check character is wrong")))
    if not evidence.outcome:
        text = english("value is required without a signed_report")
        found.append(Violation(f"{field}.outcome", "INVALID_FIELD", text))
    number = canonical_report_number(evidence.report_number)
    if number and not (number.isprintable() and is_report_number(number)):
        text = english("no report has such a number: it holds a space, a slash, an @ or an invisible character")
        found.append(Violation(f"{field}.report_number", "INVALID_FIELD", text))
    for text_field, given in (("report_number", number), ("lab_name", evidence.lab_name)):
        if given and holds_resident_number(normal_form(given)):
            found.append(
                Violation(f"{field}.{text_field}", "INVALID_FIELD", english("is the number of an identity document"))
            )
    if not (evidence.lab or number or normal_form(evidence.lab_name)):
        text = english("names no report: one of lab, lab_name and report_number is required")
        found.append(Violation(f"{field}.lab", "INVALID_FIELD", text))
    for name in ("sample_time", "report_time"):
        if evidence.HasField(name):
            time: Timestamp = getattr(evidence, name)
            check_time(time, f"{field}.{name}", found)
            if from_timestamp(time) < FIRST_TESTS:
                found.append(Violation(f"{field}.{name}", "INVALID_FIELD", english("is before the first tests")))


def set_items(question: Question, items: Sequence[str]) -> None:
    """Set the names of the items to look up, once the policy is known; empty for the default item alone.

    The look-up is changed in place. A call that is under way with it is not affected.
    """
    if items:
        question.look_up.items = items
        _add_claimed_reports(question.look_up, question.evidence, question.signed)


def looked_up_items(look_up: LookUp) -> Collection[str]:
    """Return the ids of the items that are looked up."""
    return parse_items(look_up.items, "items") or (DEFAULT_ITEM,)


def is_looked_up(evidence: Evidence, items: Collection[str]) -> bool:
    """Return whether Results is asked for the record of evidence if `items` are looked up."""
    return evidence.item in items


def _add_claimed_reports(look_up: LookUp, evidence: Sequence[Evidence], signed: Sequence[SealedReport | None]) -> None:
    """Ask for the records of the evidence whose items are looked up."""
    if not evidence:
        return
    items = looked_up_items(look_up)
    claimed_reports: list[ClaimedReport] = []
    for index, report in enumerate(evidence):
        if is_looked_up(report, items):
            claimed = _claimed(report)
            claimed.with_signing_keys = bool(signed) and signed[index] is not None
            claimed_reports.append(claimed)
    look_up.claimed_reports = claimed_reports


def _claimed(evidence: Evidence) -> ClaimedReport:
    claimed = ClaimedReport(lab=evidence.lab, report_number=evidence.report_number)
    if not evidence.lab:
        claimed.lab_name = evidence.lab_name
    # A sampling record has no report yet: its laboratory must have been authorised when the specimen was taken.
    times = (evidence.report_time, evidence.sample_time)
    first, other = times[::-1] if evidence.outcome == PENDING else times
    time = other if first is None else first
    if time is not None:
        set_timestamp(claimed.report_time, time)
    return claimed
