"""Conversion of the positions of writers."""

from __future__ import annotations

from hutong.exchange.v1 import node_pb2

from services.domain.fields import read_instant
from services.domain.instant import optional_timestamp
from services.results.exchange.model import WriterPosition


def position_to_proto(position: WriterPosition) -> node_pb2.WriterPosition:
    """Return the message for a writer's position."""
    return node_pb2.WriterPosition(
        writer=position.writer, offset=position.offset, commit_time=optional_timestamp(position.commit_time)
    )


def position_from_proto(message: node_pb2.WriterPosition) -> WriterPosition:
    """Return a writer's position from its message. Raise InvalidArgument for an impossible time."""
    time = read_instant(message.commit_time, "commit_time") if message.HasField("commit_time") else None
    return WriterPosition(message.writer, message.offset, time)
