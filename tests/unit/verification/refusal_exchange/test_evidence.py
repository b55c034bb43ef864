"""The evidence of a reported refusal as nodes send it to each other."""

from __future__ import annotations

from dataclasses import replace

from hutong.exchange.v1.replicated_refusal_pb2 import (
    SIGNATURE_VERDICT_FOR_HOLDER,
    RefusalEvidence,
    ReplicatedRefusal,
)
from hutong.type.v1.channel_pb2 import CHANNEL_PAPER_REPORT
from hutong.type.v1.purpose_pb2 import PURPOSE_HOTEL
from hutong.type.v1.refusal_ground_pb2 import REFUSAL_GROUND_NOT_TESTED_LOCALLY
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong.verification.v1.verification_service_pb2 import VerifyRequest

from services.domain.instant import HOUR, to_timestamp
from services.domain.names import format_refusal
from services.domain.subject import Pepper
from services.runtime.ids import uuid7
from services.verification.refusal_exchange.convert import refusal_from_message, refusal_to_message

NOW = 1_660_190_400_000_000
PEPPER = Pepper(b"p" * 32)
LATER_VERDICT = 77
"""A verdict that only a later release knows."""


def _message(*verdicts: int, **fields: object) -> ReplicatedRefusal:
    return ReplicatedRefusal(
        name=format_refusal(uuid7()),
        origin_node="nodes/000000",
        create_time=to_timestamp(NOW),
        region="410105",
        purpose=PURPOSE_HOTEL,
        refuse_time=to_timestamp(NOW - HOUR),
        grounds=[REFUSAL_GROUND_NOT_TESTED_LOCALLY],
        evidence=[PresentedEvidence(channel=CHANNEL_PAPER_REPORT, report_number="R1", **fields)],  # type: ignore[arg-type]
        signature_verdicts=verdicts,  # type: ignore[arg-type]
    )


def test_verdicts_on_signatures_cross_and_signed_reports_do_not() -> None:
    """A verdict of a later release is passed on."""
    verdicts = [SIGNATURE_VERDICT_FOR_HOLDER, LATER_VERDICT]
    received = refusal_from_message(_message(*verdicts, signed_report="HTR1:abc"), PEPPER, NOW)
    sent = refusal_to_message(received, "000000", to_above=False)
    assert list(sent.signature_verdicts) == verdicts
    assert [(one.report_number, one.signed_report) for one in sent.evidence] == [("R1", "")]


def test_evidence_that_a_release_before_has_stored_is_read() -> None:
    """An earlier release stored evidence without verdicts.

    Evidence without verdicts is still stored in the same form.
    """
    received = refusal_from_message(_message(), PEPPER, NOW)
    stored = VerifyRequest(evidence=[PresentedEvidence(channel=CHANNEL_PAPER_REPORT, report_number="R1")])
    assert received.evidence == stored.SerializeToString()
    sent = refusal_to_message(replace(received, evidence=stored.SerializeToString()), "000000", to_above=False)
    assert list(sent.evidence) == list(stored.evidence)
    assert RefusalEvidence.FromString(received.evidence).signature_verdicts == []
