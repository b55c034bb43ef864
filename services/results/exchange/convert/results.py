"""Conversion of replicated results."""

from __future__ import annotations

from hutong.exchange.v1 import replica_pb2
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.fields import read_instant
from services.domain.names import parse_item
from services.domain.subject import KEY_LENGTH, NAME_HASH_LENGTH
from services.results.exchange.convert.fields import instant_of
from services.results.exchange.model import Replica
from services.results.records.convert import fill_stored_columns
from services.results.records.model import PENDING, StoredResult

_LAB = "labs/"
_NODE = "nodes/"


def fill_replica(message: replica_pb2.ReplicatedResult, replica: Replica) -> None:
    """Fill an empty message with a result."""
    result = replica.result
    message.subject_key = result.subject_key
    message.key_version = replica.key_version
    message.content_hash = replica.content_hash
    message.sampling_hash = replica.sampling_hash
    message.other_subject_key = replica.other_key
    if len(result.name_hash) == NAME_HASH_LENGTH:
        message.name_hash = result.name_hash
    fill_stored_columns(message, result)


def replica_from_proto(message: replica_pb2.ReplicatedResult) -> Replica:
    """Return a replicated result. Raise InvalidArgument for a result that no node can have sent."""
    lab, source_node = message.lab.removeprefix(_LAB), message.source_node.removeprefix(_NODE)
    report_time = instant_of(message, "report_time")
    if len(message.subject_key) != KEY_LENGTH or message.key_version < 1:
        raise InvalidArgument.field(
            "subject_key", english("has not {key_length} bytes, or no version", key_length=KEY_LENGTH)
        )
    if (
        len(lab) != 18
        or len(source_node) != 6
        or not message.report_number
        or message.revision < 1
        or not message.state
    ):
        raise InvalidArgument.field(
            "result", english("has no laboratory, report number, revision, state or source_node")
        )
    if (report_time is None) != (message.outcome == PENDING) or not message.HasField("sample_time"):
        raise InvalidArgument.field("result", english("has not the times of its outcome"))
    if len(message.other_subject_key) not in (0, KEY_LENGTH):
        raise InvalidArgument.field(
            "result.other_subject_key", english("has not {key_length} bytes", key_length=KEY_LENGTH)
        )
    if len(message.name_hash) not in (0, NAME_HASH_LENGTH):
        raise InvalidArgument.field(
            "result.name_hash", english("has not {name_hash_length} bytes", name_hash_length=NAME_HASH_LENGTH)
        )
    sample_time = read_instant(message.sample_time, "result.sample_time")
    return Replica(
        StoredResult(
            message.subject_key,
            sample_time if report_time is None else report_time,
            lab,
            message.report_number,
            message.revision,
            message.state,
            "",
            "",
            message.tube_code,
            message.pool_size,
            message.specimen,
            message.method,
            message.outcome,
            message.sample_region,
            message.sample_site,
            sample_time,
            instant_of(message, "receive_time"),
            instant_of(message, "test_time"),
            report_time,
            parse_item(message.item, "result.item"),
            read_instant(message.upload_time, "result.upload_time"),
            instant_of(message, "national_receive_time"),
            source_node,
            message.name_hash,
        ),
        message.key_version,
        message.content_hash,
        message.sampling_hash,
        message.other_subject_key,
    )
