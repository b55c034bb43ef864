"""Conversion of replicated changes, which are results, links, laboratories, adverse subjects or missing reports."""

from __future__ import annotations

from hutong.exchange.v1 import replica_pb2
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.fields import read_instant
from services.domain.instant import set_timestamp
from services.domain.names import format_lab, format_node, parse_lab, parse_node
from services.domain.subject import KEY_LENGTH
from services.results.documents.model import DocumentLink
from services.results.exchange.convert.fields import instant_of
from services.results.exchange.convert.labs import fill_lab, lab_from_proto
from services.results.exchange.convert.links import fill_link, link_from_proto
from services.results.exchange.convert.results import fill_replica, replica_from_proto
from services.results.exchange.model import AdverseSubject, Change, Replica
from services.results.labs.model import Lab
from services.results.missing_reports.convert import answer_from_proto, fill_answer
from services.results.missing_reports.model import MissingReport


def fill_change(message: replica_pb2.ReplicatedChange, change: Change) -> None:
    """Write a change into an empty message."""
    if isinstance(change, Replica):
        fill_replica(message.result, change)
    elif isinstance(change, DocumentLink):
        fill_link(message.link, change)
    elif isinstance(change, Lab):
        fill_lab(message.lab, change)
    elif isinstance(change, AdverseSubject):
        message.adverse_subject.subject_key = change.subject_key
    else:
        _fill_missing_report(message.missing_report, change)


def change_from_proto(message: replica_pb2.ReplicatedChange) -> Change:
    """Return a replicated change. Raise InvalidArgument for a change that no node can have sent."""
    kind = message.WhichOneof("change")
    if kind == "result":
        return replica_from_proto(message.result)
    if kind == "link":
        return link_from_proto(message.link)
    if kind == "lab":
        return lab_from_proto(message.lab)
    if kind == "adverse_subject":
        if len(message.adverse_subject.subject_key) != KEY_LENGTH:
            raise InvalidArgument.field(
                "adverse_subject.subject_key", english("has not {key_length} bytes", key_length=KEY_LENGTH)
            )
        return AdverseSubject(message.adverse_subject.subject_key)
    if kind is None:
        raise InvalidArgument.field("change", english("is of no known kind"))
    return _missing_report_from_proto(message.missing_report)


def _fill_missing_report(message: replica_pb2.ReplicatedMissingReport, report: MissingReport) -> None:
    message.lab = format_lab(report.lab)
    message.report_number = report.report_number
    message.raising_node = format_node(report.raising_node)
    set_timestamp(message.create_time, report.create_time)
    if report.close_time is not None:
        set_timestamp(message.close_time, report.close_time)
    if report.answer is not None:
        fill_answer(message.lab_answer, report.answer)


def _missing_report_from_proto(message: replica_pb2.ReplicatedMissingReport) -> MissingReport:
    return MissingReport(
        parse_lab(message.lab, "missing_report.lab"),
        message.report_number,
        read_instant(message.create_time, "missing_report.create_time"),
        parse_node(message.raising_node, "missing_report.raising_node"),
        instant_of(message, "close_time"),
        answer_from_proto(message.lab_answer) if message.HasField("lab_answer") else None,
    )
