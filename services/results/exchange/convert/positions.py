"""Conversion of the positions of writers and of subscriptions."""

from __future__ import annotations

from hutong.exchange.v1 import exchange_service_pb2, node_pb2
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.fields import read_instant
from services.domain.instant import optional_timestamp, to_timestamp
from services.results.exchange.model import SubscriptionPosition, WriterPosition
from services.storage.life import LIFE_LENGTH


def position_to_proto(position: WriterPosition) -> node_pb2.WriterPosition:
    """Return the message for a writer's position."""
    return node_pb2.WriterPosition(
        writer=position.writer, offset=position.offset, commit_time=optional_timestamp(position.commit_time)
    )


def position_from_proto(message: node_pb2.WriterPosition) -> WriterPosition:
    """Return a writer's position from its message. Raise InvalidArgument for an impossible time."""
    time = read_instant(message.commit_time, "commit_time") if message.HasField("commit_time") else None
    return WriterPosition(message.writer, message.offset, time)


def subscription_position_to_proto(position: SubscriptionPosition) -> exchange_service_pb2.SubscriptionPosition:
    """Return the message for a subscription's position."""
    return exchange_service_pb2.SubscriptionPosition(
        number=position.number, commit_time=to_timestamp(position.commit_time), life=position.life
    )


def subscription_position_from_proto(message: exchange_service_pb2.SubscriptionPosition) -> SubscriptionPosition:
    """Return a subscription's position from its message. Raise InvalidArgument for one that cannot be stored."""
    time = read_instant(message.commit_time, "commit_time")
    if message.number < 1 or not 0 < len(message.life) <= LIFE_LENGTH or "\0" in message.life:
        raise InvalidArgument.field("position", english("is not the position of a subscription"))
    return SubscriptionPosition(message.number, time, message.life)
