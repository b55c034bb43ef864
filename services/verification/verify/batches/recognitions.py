"""Recognitions of one batch. They differ only in their records, so all else is decided and encoded once."""

from __future__ import annotations

from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import set_timestamp
from services.domain.names import format_item
from services.verification.decision.decide import decide
from services.verification.decision.lone import can_recognize_lone, recognize_lone
from services.verification.decision.model import Inputs, Record
from services.verification.decision.weigh import Weighed
from services.verification.sources.model import PolicyQuestion
from services.verification.verify.convert import fill_decision
from services.verification.verify.inputs import SourceAnswers, gather
from services.verification.verify.questions.asker import FULL, View
from services.verification.verify.questions.question import Question
from services.verification.verify.view import cut_to_view

_OF_RECORD = ("result", "basis_time", "expire_time", "considered", "item")
"""The fields of a recognition that depend on its record."""


class _Shared:
    """What recognitions share.

    Attributes:
        inputs: the inputs of their decisions. Their records are not read.
        encoded: the fields that do not depend on the record, in the view of the answers; empty before the first
            recognition.
        can_recognize: whether a lone record may be recognised by these inputs at all.
    """

    __slots__ = ("can_recognize", "encoded", "inputs")

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.encoded = b""
        self.can_recognize = can_recognize_lone(inputs)


class Recognitions:
    """Answers the questions of one batch whose persons have exactly one record, if that record is recognised.

    The answers are the same as in the general way. None of them has to be stored, and none counts as a miss.
    """

    def __init__(self) -> None:
        self._shared: dict[tuple[PolicyQuestion, View, int], _Shared] = {}

    def fill(self, question: Question, answers: SourceAnswers, message: pb.Decision) -> Record | None:
        """Write the decision into an empty message and return the recognised record.

        Return None, and write nothing, if the question must be decided in the general way.
        """
        results, policy = answers.results, answers.policy
        if results is None or policy is None or len(results.records) != 1:
            return None
        if question.evidence or question.store_decision or question.token is not None:
            return None
        if question.own_records_first and not policy.is_settled_by_own_records:
            return None
        # All questions of a batch have the same time of evaluation. All answers of one look-up have the same tuple of
        # sources.
        key = (question.policy, question.view, id(results.sources))
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(gather(question, answers).inputs)
        if not shared.can_recognize:
            return None
        (record,) = results.records
        one = recognize_lone(record, shared.inputs)
        if one is None:
            return None
        if not shared.encoded:
            shared.encoded = _encode_shared(shared.inputs._replace(records=(record,)), question.view)
        message.MergeFromString(shared.encoded)
        _fill_record(message, record, one, question.view)
        return record


def _encode_shared(inputs: Inputs, view: View) -> bytes:
    """Decide in the general way. Return the encoded decision without the fields that depend on the record."""
    message = pb.Decision()
    fill_decision(message, decide(inputs), inputs)
    cut_to_view(message, view)
    for name in _OF_RECORD:
        message.ClearField(name)  # type: ignore[arg-type]
    return message.SerializeToString()


def _fill_record(message: pb.Decision, record: Record, one: Weighed, view: View) -> None:
    """Write the fields that depend on a recognised record. The minimal view has only one of them."""
    assert one.expire_time is not None
    set_timestamp(message.expire_time, one.expire_time)
    if view != FULL:
        return
    message.result = name = f"{record.name}@{record.revision}"
    assert one.basis_time is not None
    set_timestamp(message.basis_time, one.basis_time)
    considered = message.considered.add()
    considered.result = name
    considered.use = pb.EVIDENCE_USE_USED
    set_timestamp(considered.expire_time, one.expire_time)
    if record.item:
        considered.item = message.item = format_item(record.item)
