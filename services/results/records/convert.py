"""Conversion of results to messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from hutong.exchange.v1 import replica_pb2
from hutong.results.v1 import lab_pb2, result_pb2

from services.domain.instant import set_timestamp
from services.domain.names import format_item, format_lab, format_node, format_result
from services.results.records.model import StoredResult

if TYPE_CHECKING:
    Standing: TypeAlias = lab_pb2.LabStanding.ValueType


def result_to_proto(result: StoredResult, lab_standing: Standing) -> result_pb2.TestResult:
    """Return a stored result as the contract's message, with masks for name and number."""
    message = result_pb2.TestResult()
    fill_result(message, result, lab_standing)
    return message


def fill_stored_columns(message: result_pb2.TestResult | replica_pb2.ReplicatedResult, columns: StoredResult) -> None:
    """Fill an empty message with those stored fields that the contract and the exchange have in common."""
    message.revision = columns.revision
    message.state = columns.state
    message.lab = format_lab(columns.lab)
    message.report_number = columns.report_number
    message.tube_code = columns.tube_code
    message.pool_size = columns.pool_size
    message.specimen = columns.specimen
    message.method = columns.method
    message.outcome = columns.outcome
    message.sample_region = columns.sample_region
    message.sample_site = columns.sample_site
    set_timestamp(message.sample_time, columns.sample_time)
    if columns.receive_time is not None:
        set_timestamp(message.receive_time, columns.receive_time)
    if columns.test_time is not None:
        set_timestamp(message.test_time, columns.test_time)
    if columns.report_time is not None:
        set_timestamp(message.report_time, columns.report_time)
    if columns.item:
        message.item = format_item(columns.item)
    set_timestamp(message.upload_time, columns.upload_time)
    if columns.national_receive_time is not None:
        set_timestamp(message.national_receive_time, columns.national_receive_time)
    message.source_node = format_node(columns.source_node)


def fill_result(message: result_pb2.TestResult, result: StoredResult, lab_standing: Standing) -> None:
    """Fill an empty message that is part of a response.

    Every look-up converts results. Copying a finished message into the response would cost more than the rest of the
    conversion.
    """
    message.name = format_result(result.lab, result.report_number)
    message.masked_name = result.masked_name
    message.masked_number = result.masked_number
    fill_stored_columns(message, result)
    message.lab_standing = lab_standing
