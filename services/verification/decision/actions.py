"""The table of gate actions: what a gate does with the holder after a decision. Pure.

The row of a decision depends on its outcome, its reason, whether refusal is permitted, whether the policy permits
refusal at all, and which sources answered. It depends neither on the channel nor on the basis of a recognition.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.verification.v1 import decision_pb2 as pb
from hutong_texts import Text, english

if TYPE_CHECKING:
    DecisionOutcome: TypeAlias = pb.DecisionOutcome.ValueType
    GateAction: TypeAlias = pb.GateAction.ValueType
    Reason: TypeAlias = pb.DecisionReason.ValueType

ALL_ANSWERED = 1
"""All sources, the nation among them, were asked and answered."""
NATION_NOT_ASKED = 2
"""The nation was not asked, because the scope was LOCAL."""
NO_ANSWER = 4
"""A source that was asked did not answer."""
POLICY_UNKNOWN = 8
"""Policy did not answer, so it is not known which policy applies."""
ANY_ANSWERED = ALL_ANSWERED | NATION_NOT_ASKED | NO_ANSWER | POLICY_UNKNOWN
"""Matches every decision, whichever sources answered."""

LET_IN = pb.GATE_ACTION_LET_IN
REGISTER = pb.GATE_ACTION_LET_IN_AND_REGISTER
ASK_AGAIN = pb.GATE_ACTION_ASK_AGAIN
MAY_BE_REFUSED = pb.GATE_ACTION_MAY_BE_REFUSED
NEW_ANSWER = pb.GATE_ACTION_UNSPECIFIED
"""After asking again, the gate does what the new answer says."""

_NOT_REQUIRED = pb.DECISION_OUTCOME_NOT_REQUIRED
_RECOGNIZED = pb.DECISION_OUTCOME_RECOGNIZED
_UNDETERMINED = pb.DECISION_OUTCOME_UNDETERMINED
_NOT_RECOGNIZED = pb.DECISION_OUTCOME_NOT_RECOGNIZED


class GateRow(NamedTuple):
    """One row of the table.

    Attributes:
        rule_may_refuse: whether the policy permits refusal; None matches both.
        heard: flags of this module that describe the sources. The row applies if one of these flags is set for the
            decision.
        then_action: what the gate does if the action is to ask again and the new answer is the same.
    """

    number: int
    outcome: DecisionOutcome
    reason: Reason
    refusal_permitted: bool
    rule_may_refuse: bool | None
    heard: int
    action: GateAction
    then_action: GateAction
    must_register: bool
    text: Text


# fmt: off
ROWS: tuple[GateRow, ...] = (
    GateRow(1, _NOT_REQUIRED, pb.DECISION_REASON_NO_TEST_REQUIRED, False, None, ANY_ANSWERED, LET_IN, NEW_ANSWER, False,
            english("No result is asked for here.")),
    GateRow(2, _RECOGNIZED, pb.DECISION_REASON_VALID, False, None, ANY_ANSWERED, LET_IN, NEW_ANSWER, False,
            english("The result is recognised until the stated time.")),
    GateRow(3, _UNDETERMINED, pb.DECISION_REASON_NO_POLICY_IN_FORCE, False, None,
            ANY_ANSWERED, LET_IN, NEW_ANSWER, False,
            english("No rule asks for a result here.")),
    GateRow(4, _UNDETERMINED, pb.DECISION_REASON_SOURCE_UNAVAILABLE, False, None,
            POLICY_UNKNOWN, ASK_AGAIN, LET_IN, False,
            english("The rule cannot be read now; ask again.")),
    GateRow(5, _UNDETERMINED, pb.DECISION_REASON_SOURCE_UNAVAILABLE, False, True, NO_ANSWER, ASK_AGAIN, LET_IN, False,
            english("A source did not answer; nothing is held against the holder.")),
    GateRow(6, _UNDETERMINED, pb.DECISION_REASON_SOURCE_UNAVAILABLE, False, False,
            NO_ANSWER, LET_IN, NEW_ANSWER, False,
            english("A source did not answer, and nobody may be refused here.")),
    GateRow(7, _UNDETERMINED, pb.DECISION_REASON_NATION_NOT_ASKED, False, True,
            NATION_NOT_ASKED, ASK_AGAIN, LET_IN, False,
            english("The nation was not asked; ask again, with the nation.")),
    GateRow(8, _UNDETERMINED, pb.DECISION_REASON_NATION_NOT_ASKED, False, False,
            NATION_NOT_ASKED, LET_IN, NEW_ANSWER, False,
            english("The nation was not asked, and nobody may be refused here.")),
    GateRow(9, _UNDETERMINED, pb.DECISION_REASON_HISTORY_CUT, False, None, ANY_ANSWERED, LET_IN, NEW_ANSWER, False,
            english("What counted then cannot be told; asking again does not help.")),
    GateRow(10, _UNDETERMINED, pb.DECISION_REASON_EVIDENCE_NOT_COMPARABLE, False, None,
            ANY_ANSWERED, REGISTER, NEW_ANSWER, True,
            english("The paper cannot be compared; it is kept with the decision and examined later.")),
    GateRow(11, _UNDETERMINED, pb.DECISION_REASON_CLEARANCE_NOT_RECORDED, False, None,
            ANY_ANSWERED, REGISTER, NEW_ANSWER, True,
            english("A later negative is shown and not recorded; an officer and the laboratory are told.")),
    GateRow(12, _NOT_RECOGNIZED, pb.DECISION_REASON_NO_RESULT, True, True,
            ALL_ANSWERED, MAY_BE_REFUSED, NEW_ANSWER, False,
            english("No result that counts; name the nearest test. Another result may still be shown.")),
    GateRow(13, _NOT_RECOGNIZED, pb.DECISION_REASON_NO_RESULT, False, None, ALL_ANSWERED, LET_IN, NEW_ANSWER, False,
            english("No result that counts; nobody is refused for it here. Name the nearest test.")),
    GateRow(14, _NOT_RECOGNIZED, pb.DECISION_REASON_EXPIRED, True, True,
            ALL_ANSWERED, MAY_BE_REFUSED, NEW_ANSWER, False,
            english("The result expired at the stated time; another one may still be shown.")),
    GateRow(15, _NOT_RECOGNIZED, pb.DECISION_REASON_EXPIRED, False, None, ALL_ANSWERED, LET_IN, NEW_ANSWER, False,
            english("The result expired at the stated time; nobody is refused for it here.")),
    GateRow(16, _NOT_RECOGNIZED, pb.DECISION_REASON_NOT_YET_REPORTED, True, True,
            ALL_ANSWERED, MAY_BE_REFUSED, NEW_ANSWER, False,
            english("Sampled, but the report is not out; another result may still be shown.")),
    GateRow(17, _NOT_RECOGNIZED, pb.DECISION_REASON_NOT_YET_REPORTED, False, None,
            ALL_ANSWERED, LET_IN, NEW_ANSWER, False,
            english("Sampled, but the report is not out; nobody is refused for it here.")),
    GateRow(18, _NOT_RECOGNIZED, pb.DECISION_REASON_INCONCLUSIVE_RESULT, True, True,
            ALL_ANSWERED, MAY_BE_REFUSED, NEW_ANSWER, False,
            english("The test gave no usable answer; a new specimen is needed.")),
    GateRow(19, _NOT_RECOGNIZED, pb.DECISION_REASON_INCONCLUSIVE_RESULT, False, None,
            ALL_ANSWERED, LET_IN, NEW_ANSWER, False,
            english("The test gave no usable answer; nobody is refused for it here. A new specimen is needed.")),
    GateRow(20, _NOT_RECOGNIZED, pb.DECISION_REASON_RESULT_RECALLED, True, True,
            ALL_ANSWERED, MAY_BE_REFUSED, NEW_ANSWER, False,
            english("The result was taken back by its laboratory; another one may still be shown.")),
    GateRow(21, _NOT_RECOGNIZED, pb.DECISION_REASON_RESULT_RECALLED, False, None,
            ALL_ANSWERED, LET_IN, NEW_ANSWER, False,
            english("The result was taken back by its laboratory; nobody is refused for it here.")),
    GateRow(22, _NOT_RECOGNIZED, pb.DECISION_REASON_LAB_NOT_AUTHORIZED, True, True,
            ALL_ANSWERED, MAY_BE_REFUSED, NEW_ANSWER, False,
            english("The laboratory was not authorised then; another result may still be shown.")),
    GateRow(23, _NOT_RECOGNIZED, pb.DECISION_REASON_LAB_NOT_AUTHORIZED, False, None,
            ALL_ANSWERED, LET_IN, NEW_ANSWER, False,
            english("The laboratory was not authorised then; nobody is refused for it here.")),
    GateRow(24, _NOT_RECOGNIZED, pb.DECISION_REASON_EVIDENCE_CONTRADICTS_RECORD, True, True,
            ALL_ANSWERED, MAY_BE_REFUSED, NEW_ANSWER, True,
            english("What is shown does not agree with what its laboratory states: compare once more "
                    "what was typed. An officer examines it.")),
    GateRow(25, _NOT_RECOGNIZED, pb.DECISION_REASON_EVIDENCE_CONTRADICTS_RECORD, False, None,
            ALL_ANSWERED, REGISTER, NEW_ANSWER, True,
            english("What is shown does not agree with what its laboratory states; an officer examines it.")),
    GateRow(26, _NOT_RECOGNIZED, pb.DECISION_REASON_POSITIVE_RESULT, True, True,
            ALL_ANSWERED | NO_ANSWER, MAY_BE_REFUSED, NEW_ANSWER, True,
            english("A positive result: disease control must be told. Treatment is never refused. A "
                    "later negative may be shown.")),
    GateRow(27, _NOT_RECOGNIZED, pb.DECISION_REASON_POSITIVE_RESULT, False, False,
            ANY_ANSWERED, REGISTER, NEW_ANSWER, True,
            english("A positive result: follow the place's way for positives. Disease control must be told.")),
    GateRow(28, _NOT_RECOGNIZED, pb.DECISION_REASON_POSITIVE_RESULT, False, True,
            NATION_NOT_ASKED, ASK_AGAIN, NEW_ANSWER, True,
            english("A positive result is recorded here; ask again, with the nation, which may know "
                    "that it is cleared.")),
    GateRow(29, _NOT_RECOGNIZED, pb.DECISION_REASON_POSITIVE_RESULT, False, True,
            ALL_ANSWERED | NO_ANSWER, REGISTER, NEW_ANSWER, True,
            english("A positive result; refusing for it is not permitted here. Disease control must be told.")),
    GateRow(30, _NOT_RECOGNIZED, pb.DECISION_REASON_PENDING_RECHECK, True, True,
            ALL_ANSWERED | NO_ANSWER, MAY_BE_REFUSED, NEW_ANSWER, False,
            english("A pool was positive, which says nothing yet of the person: recheck first.")),
    GateRow(31, _NOT_RECOGNIZED, pb.DECISION_REASON_PENDING_RECHECK, False, False,
            ANY_ANSWERED, REGISTER, NEW_ANSWER, True,
            english("A pool was positive, which says nothing yet of the person: recheck.")),
    GateRow(32, _NOT_RECOGNIZED, pb.DECISION_REASON_PENDING_RECHECK, False, True,
            NATION_NOT_ASKED, ASK_AGAIN, NEW_ANSWER, False,
            english("A positive pool is recorded here; ask again, with the nation, which may know the recheck.")),
    GateRow(33, _NOT_RECOGNIZED, pb.DECISION_REASON_PENDING_RECHECK, False, True,
            ALL_ANSWERED | NO_ANSWER, REGISTER, NEW_ANSWER, True,
            english("A pool was positive; refusing for it is not permitted here. Recheck.")),
)
# fmt: on
"""The table. If the nation was not asked and a source did not answer, two rows may match; the first one applies."""


@lru_cache(maxsize=1024)
def gate_row(
    outcome: DecisionOutcome, reason: Reason, heard: int, *, refusal_permitted: bool, rule_may_refuse: bool
) -> GateRow:
    """Return the first row that matches. Every decision that the rules can make has a matching row.

    Raises:
        LookupError: no row matches, which is a fault of the table.
    """
    for row in ROWS:
        if (
            (row.outcome, row.reason, row.refusal_permitted) == (outcome, reason, refusal_permitted)
            and row.rule_may_refuse in (None, rule_may_refuse)
            and row.heard & heard
        ):
            return row
    raise LookupError(f"no action for outcome {outcome}, reason {reason}, heard {heard}")
