"""Converts answers of laboratories to messages and back."""

from __future__ import annotations

from hutong.results.v1 import missing_report_pb2

from services.domain.instant import from_timestamp, set_timestamp
from services.results.missing_reports.model import LabAnswer


def fill_answer(message: missing_report_pb2.LabAnswer, answer: LabAnswer, *, with_actor: bool = False) -> None:
    """Fill an empty message with the answer.

    Without `with_actor`, as for other nodes, the message does not say who answered.
    """
    message.answer = answer.answer
    set_timestamp(message.answer_time, answer.answer_time)
    if answer.expected_time is not None:
        set_timestamp(message.expected_time, answer.expected_time)
    if with_actor:
        message.actor = answer.actor


def answer_from_proto(message: missing_report_pb2.LabAnswer) -> LabAnswer | None:
    """Return the answer that another node has sent, without the actor; None if the message states none."""
    if not message.answer or not message.HasField("answer_time"):
        return None
    expected = from_timestamp(message.expected_time) if message.HasField("expected_time") else None
    return LabAnswer(message.answer, from_timestamp(message.answer_time), expected)
