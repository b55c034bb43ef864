"""A decision in words: complete, and never a word that the notice forbids."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.type.v1 import channel_pb2
from hutong.verification.v1 import decision_pb2
from hutong.verification.v1.decision_pb2 import Considered, Decision
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong_client.cli.exit_codes import MEANINGS, ExitCode, describe_exit_codes
from hutong_client.cli.explanation import REASONS, USES, exit_code_of, explain, summarize

EXPIRY = Timestamp(seconds=1_660_181_400)  # 2022-08-11 09:30 in China


def test_every_reason_and_use_has_words() -> None:
    """A new one in the contract must not come out as a number."""
    assert set(REASONS) == set(decision_pb2.DecisionReason.values()) - {0}
    assert set(USES) == set(decision_pb2.EvidenceUse.values()) - {0}


def test_recognition_is_explained_with_its_policy_and_its_end_in_civil_time() -> None:
    """Outcome, reason, until when, by which rule, resting on what."""
    decision = Decision(
        outcome=decision_pb2.DECISION_OUTCOME_RECOGNIZED,
        reason=decision_pb2.DECISION_REASON_VALID,
        basis=decision_pb2.DECISION_BASIS_RECORD,
        result="labs/x/results/R1@1",
        expire_time=EXPIRY,
        governing_policy="jurisdictions/410000/policies/p@1",
    )
    text = "\n".join(explain(decision, lambda _: "“a title”"))
    assert summarize(decision) == "RECOGNIZED, VALID until 2022-08-11 09:30:00"
    assert "Policy: jurisdictions/410000/policies/p@1 “a title”" in text
    assert "Record: labs/x/results/R1@1" in text


def test_what_was_not_used_is_explained_with_the_reason() -> None:
    """The explanation also says where a paper differs from its record."""
    decision = Decision(
        outcome=decision_pb2.DECISION_OUTCOME_NOT_RECOGNIZED,
        reason=decision_pb2.DECISION_REASON_EXPIRED,
        expire_time=EXPIRY,
        considered=[
            Considered(result="labs/x/results/R1@1", use=decision_pb2.EVIDENCE_USE_EXPIRED, expire_time=EXPIRY),
            Considered(
                evidence=PresentedEvidence(channel=channel_pb2.CHANNEL_PAPER_REPORT, report_number="R2"),
                use=decision_pb2.EVIDENCE_USE_CONTRADICTS_RECORD,
                differing_fields=["report_time"],
            ),
        ],
    )
    text = "\n".join(explain(decision, lambda _: ""))
    assert "NOT RECOGNIZED, EXPIRED since 2022-08-11 09:30:00" in text
    assert "labs/x/results/R1@1: not used: outside the window (2022-08-11 09:30:00)" in text
    assert "paper report, report R2: not used: differs from the record in report_time" in text


def test_items_are_named_except_the_default_one() -> None:
    """Items are named for the result of the decision, for each record and for evidence."""
    antigen = "items/sars-cov-2-antigen"
    shown = PresentedEvidence(channel=channel_pb2.CHANNEL_PAPER_REPORT, report_number="R3", item="items/hepatitis-b")
    decision = Decision(
        outcome=decision_pb2.DECISION_OUTCOME_RECOGNIZED,
        reason=decision_pb2.DECISION_REASON_VALID,
        item=antigen,
        expire_time=EXPIRY,
        considered=[
            Considered(result="labs/x/results/R1@1", item=antigen, use=decision_pb2.EVIDENCE_USE_USED),
            Considered(result="labs/x/results/R2@1", use=decision_pb2.EVIDENCE_USE_EXPIRED),
            Considered(evidence=shown, use=decision_pb2.EVIDENCE_USE_OTHER_ITEM),
        ],
    )
    assert summarize(decision) == "RECOGNIZED, VALID (sars-cov-2-antigen) until 2022-08-11 09:30:00"
    text = "\n".join(explain(decision, lambda _: ""))
    assert "labs/x/results/R1@1 (sars-cov-2-antigen): used" in text
    assert "labs/x/results/R2@1: not used" in text
    assert "report R3 (hepatitis-b): no effect" in text


@pytest.mark.parametrize("outcome", decision_pb2.DecisionOutcome.values())
def test_every_outcome_has_its_exit_code(outcome: decision_pb2.DecisionOutcome.ValueType) -> None:
    """0 opens the gate, 4 and 5 do not; what is not known is undetermined."""
    expected = {
        decision_pb2.DECISION_OUTCOME_RECOGNIZED: ExitCode.DONE,
        decision_pb2.DECISION_OUTCOME_NOT_REQUIRED: ExitCode.DONE,
        decision_pb2.DECISION_OUTCOME_NOT_RECOGNIZED: ExitCode.NOT_RECOGNIZED,
    }
    assert exit_code_of(Decision(outcome=outcome)) == expected.get(outcome, ExitCode.UNDETERMINED)


def test_every_exit_code_is_documented() -> None:
    """The table that `hutong --help` prints has every exit code."""
    assert set(MEANINGS) == set(ExitCode)
    assert len(describe_exit_codes().splitlines()) == len(ExitCode)
