"""Reads fields that several messages of the exchange have."""

from __future__ import annotations

from hutong.exchange.v1 import replica_pb2

from services.domain.fields import read_instant
from services.domain.instant import Instant


def instant_of(
    message: replica_pb2.ReplicatedResult
    | replica_pb2.ReplicatedLink
    | replica_pb2.ReplicatedLab
    | replica_pb2.ReplicatedLabStanding
    | replica_pb2.ReplicatedMissingReport,
    field: str,
) -> Instant | None:
    """Return the time in a field; None if the message has none. Raises InvalidArgument as `read_instant` does."""
    return read_instant(getattr(message, field), field) if message.HasField(field) else None  # type: ignore[arg-type]
