"""Signed reports in the evidence of a request, and what a good or a bad signature does to flags."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hutong.exchange.v1.replicated_refusal_pb2 import (
    SIGNATURE_VERDICT_FOR_HOLDER,
    SIGNATURE_VERDICT_FOR_OTHER_DOCUMENT,
)
from hutong.results.v1.lab_pb2 import LabSigningKey
from hutong.results.v1.lookup_pb2 import CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, ClaimedReportMatch
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong_client.reports import signed as signed_reports
from hutong_client.reports.signed import SignedReport

from services.domain.errors import InvalidArgument, Violation
from services.domain.instant import HOUR, SECOND, to_timestamp
from services.domain.subject import Pepper
from services.verification.decision.decide import decide
from services.verification.showings.examine import (
    KeptDecision,
    Signature,
    find_showings,
    find_verdicts,
    is_good_signature,
    verify_signature,
)
from services.verification.showings.model import (
    NUMBER_WITHOUT_DIGIT,
    SIGNATURE_NOT_VALID,
    SIGNED_FOR_OTHER_DOCUMENT,
)
from services.verification.verify.inputs import inputs_from_proto
from services.verification.verify.questions.signed import read_signed
from tests.support.golden.messages import HOURS_48, LABS, NOON, make_claim, make_inputs, make_policy
from tests.support.verification.questions import decode_question

NUMBER, OTHER_NUMBER = "410105186001010019", "220502187003030031"
KEY = Ed25519PrivateKey.generate()
DER = signed_reports.to_der(KEY.public_key())
SAMPLED, REPORTED = (NOON - 9 * HOUR) // SECOND, (NOON - HOUR) // SECOND
REPORT = signed_reports.for_holder(
    SignedReport(LABS[0].removeprefix("labs/"), "ABC", "", 2, SAMPLED, REPORTED), NUMBER, "张*", ""
)
TEXT = signed_reports.sign(REPORT, KEY)


def claim(*keys: LabSigningKey) -> ClaimedReportMatch:
    return ClaimedReportMatch(state=CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, lab_region="410100", signing_keys=keys)


def public(**fields: object) -> LabSigningKey:
    return LabSigningKey(public_key=DER, key_id=signed_reports.key_id(DER), **fields)  # type: ignore[arg-type]


def faults_of(**fields: object) -> list[tuple[str, str]]:
    found: list[Violation] = []
    evidence = PresentedEvidence(channel=7, **{"signed_report": TEXT} | fields)  # type: ignore[arg-type]
    read_signed([PresentedEvidence(), evidence], found)
    return [(one.field, one.description) for one in found]


def test_empty_fields_are_filled_and_the_text_is_left_out() -> None:
    """The evidence of the request is not changed. Evidence without a signature stays as it is."""
    shown = [PresentedEvidence(channel=7, signed_report=TEXT), PresentedEvidence(channel=7, report_number="R")]
    filled, signed = read_signed(shown, [])
    assert filled[0] == PresentedEvidence(
        channel=7, lab=LABS[0], report_number="ABC", outcome=2,
        sample_time=to_timestamp(SAMPLED * SECOND), report_time=to_timestamp(REPORTED * SECOND),
    )  # fmt: skip
    assert filled[1] is shown[1]
    assert [one is not None for one in signed] == [True, False]
    assert shown[0].signed_report == TEXT
    assert read_signed(shown[1:], []) == (shown[1:], ())


def test_fields_that_agree_are_accepted_and_others_named() -> None:
    """A report number is compared in its canonical form, and a time without seconds to the minute."""
    minute = to_timestamp(REPORTED * SECOND)
    assert not faults_of(report_number=" ＡＢＣ", lab=LABS[0], outcome=2, item="items/sars-cov-2-nucleic-acid")
    assert not faults_of(report_time=minute)
    wrong = {
        "report_number": "R2", "lab": LABS[1], "outcome": 3, "item": "items/hepatitis-b",
        "sample_time": to_timestamp(NOON), "report_time": to_timestamp(NOON),
    }  # fmt: skip
    for field, value in wrong.items():
        assert faults_of(**{field: value}) == [(f"evidence[1].{field}", "differs from signed_report")]


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (REPORT._replace(outcome=99), "an outcome or an item that is not known"),
        (REPORT._replace(item="A B"), "an outcome or an item that is not known"),
        (None, "must begin with HTR1:"),
    ],
)
def test_faulty_texts_are_refused_by_name(report: SignedReport | None, text: str) -> None:
    ((field, description),) = faults_of(signed_report="R1" if report is None else signed_reports.sign(report, KEY))
    assert field == "evidence[1].signed_report"
    assert text in description


def test_a_question_asks_for_the_keys_of_signed_reports_alone() -> None:
    """A signed report is checked as a shown report is. If no outcome is signed, an outcome is required."""
    request = VerifyRequest(region="410105", purpose=4, evidence=[PresentedEvidence(channel=7, signed_report=TEXT)])  # type: ignore[arg-type]
    request.document.type, request.document.number = 1, NUMBER  # type: ignore[assignment]
    request.evidence.add(channel=7, report_number="R1", outcome=2)  # type: ignore[arg-type]
    question = decode_question(request, NOON)
    assert [one.with_signing_keys for one in question.look_up.claimed_reports] == [True, False]
    assert (question.number, question.evidence[0].report_number) == (NUMBER, "ABC")
    assert not any(message.signed_report for message in question.evidence_messages)
    bad = REPORT._replace(lab="91410100MA0000001Y", report_number="A B")
    request.evidence[0].signed_report = signed_reports.sign(bad, KEY)
    request.evidence[1].outcome = 0  # type: ignore[assignment]
    with pytest.raises(InvalidArgument) as caught:
        decode_question(request, NOON)
    fields = [one.field for one in caught.value.violations]
    assert fields == ["evidence[0].lab", "evidence[0].report_number", "evidence[1].outcome"]


def test_a_key_counts_until_its_revocation() -> None:
    """A key that is not known says nothing. Of two keys with one id either may have signed."""
    sealed = signed_reports.read(TEXT)
    date = to_timestamp(REPORTED * SECOND)
    after, long_ago = to_timestamp(REPORTED * SECOND + SECOND), to_timestamp(0)
    other = LabSigningKey(public_key=b"another", key_id=signed_reports.key_id(DER))
    expected = {
        Signature.GOOD: [claim(public()), claim(public(revoke_time=after)), claim(other, public())],
        Signature.BAD: [claim(public(revoke_time=date)), claim(public(revoke_time=long_ago)), claim(other)],
        Signature.UNKNOWN: [claim(), None],
    }
    for signature, claims in expected.items():
        assert [verify_signature(sealed, one) for one in claims] == [signature] * len(claims)
    undated = signed_reports.read(signed_reports.sign(REPORT._replace(sample_time=None, report_time=None), KEY))
    assert verify_signature(undated, claim(public(revoke_time=after))) is Signature.BAD


def test_a_report_that_is_shown_often_is_verified_once() -> None:
    """The signature is good or bad, whichever person shows the report."""
    mine = signed_reports.sign(REPORT, KEY)
    sealed, good = signed_reports.read(mine), claim(public())
    before = is_good_signature.cache_info().misses
    for number, verdict in (
        (NUMBER, SIGNATURE_VERDICT_FOR_HOLDER),
        (OTHER_NUMBER, SIGNATURE_VERDICT_FOR_OTHER_DOCUMENT),
    ):
        assert find_verdicts([sealed] * 50, [good] * 50, number) == (verdict,) * 50
    assert is_good_signature.cache_info().misses <= before + 1
    forged = sealed._replace(signature=bytes(64))
    assert [verify_signature(forged, good) for _ in range(2)] == [Signature.BAD] * 2


@pytest.mark.parametrize(
    ("keys", "number", "certain", "kinds"),
    [
        ([public()], NUMBER, True, set()),
        ([public()], OTHER_NUMBER, False, {SIGNED_FOR_OTHER_DOCUMENT}),
        ([public()], "", False, set()),
        ([public(revoke_time=to_timestamp(0))], NUMBER, False, {SIGNATURE_NOT_VALID, NUMBER_WITHOUT_DIGIT}),
        ([], NUMBER, False, {NUMBER_WITHOUT_DIGIT}),
    ],
)
def test_a_good_signature_lifts_flags_and_a_bad_one_is_a_flag(
    keys: list[LabSigningKey], number: str, certain: bool, kinds: set[int]
) -> None:
    """No signature changes the decision, which does not read it."""
    filled, signed = read_signed([PresentedEvidence(channel=7, signed_report=TEXT)], [])
    inputs = inputs_from_proto(make_inputs(make_policy(HOURS_48), shown=[(filled[0], make_claim(1))]))  # type: ignore[arg-type]
    kept = KeptDecision("uuid", "410105", [(Pepper(b"p" * 32), b"k" * 16)])
    verdicts = find_verdicts(signed, [claim(*keys)], number)
    (showing,) = find_showings(kept, decide(inputs), inputs, [claim(*keys)], verdicts)
    assert (showing.is_certain, showing.kinds) == (certain, kinds)
