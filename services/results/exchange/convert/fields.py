"""Reads fields that several messages of the exchange have."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.exchange.v1 import replica_pb2
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.instant import Instant, from_timestamp

_FIRST_SECONDS, _END_SECONDS = -62_135_596_800, 253_402_300_800
"""The beginning of the year 1, and the end of the year 9999."""


def read_instant(timestamp: Timestamp, field: str) -> Instant:
    """Return the instant of a timestamp that another node sent. `field` names the timestamp in the error.

    Raises:
        InvalidArgument: protobuf permits no such timestamp. A database cannot store some of them.
    """
    if not (_FIRST_SECONDS <= timestamp.seconds < _END_SECONDS and 0 <= timestamp.nanos < 1_000_000_000):
        raise InvalidArgument.field(field, english("is not an instant from the year 1 to 9999"))
    return from_timestamp(timestamp)


def instant_of(
    message: replica_pb2.ReplicatedResult
    | replica_pb2.ReplicatedLink
    | replica_pb2.ReplicatedLab
    | replica_pb2.ReplicatedLabStanding
    | replica_pb2.ReplicatedMissingReport,
    field: str,
) -> Instant | None:
    """Return the time in a field; None if the message has none. Raise InvalidArgument as `read_instant` does."""
    return read_instant(getattr(message, field), field) if message.HasField(field) else None  # type: ignore[arg-type]
