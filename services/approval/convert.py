"""Conversion of pending changes to messages."""

from __future__ import annotations

from typing import cast

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from hutong.approval.v1 import pending_change_pb2

from services.approval.model import PendingChange
from services.domain.instant import Instant, optional_timestamp, to_timestamp
from services.domain.names import format_pending_change


def pack(change: Message) -> bytes:
    """Return the stored form of a proposed change. It has no request id, because each attempt has its own."""
    bare = type(change)()
    bare.CopyFrom(change)
    if "request_id" in bare.DESCRIPTOR.fields_by_name:
        bare.ClearField("request_id")
    packed = AnyMessage()
    packed.Pack(bare, deterministic=True)
    return packed.SerializeToString(deterministic=True)


def unpack(change: PendingChange, into: Message) -> None:
    """Parse a proposed change into a message of its type. Raises ValueError for another type."""
    if not AnyMessage.FromString(change.change).Unpack(into):
        raise ValueError(f"{change.method} proposed another message")


def change_to_proto(change: PendingChange, now: Instant) -> pending_change_pb2.PendingChange:
    """Return the message of a change as it stands at an instant."""
    return pending_change_pb2.PendingChange(
        name=format_pending_change(change.change_id),
        state=cast("pending_change_pb2.PendingChangeState.ValueType", int(change.state_at(now))),
        method=change.method,
        object=change.object,
        region=change.region,
        change=AnyMessage.FromString(change.change),
        item_count=change.item_count,
        proposer=change.proposer,
        create_time=to_timestamp(change.create_time),
        expire_time=to_timestamp(change.expire_time),
        decider=change.decider,
        decide_time=optional_timestamp(change.decide_time),
        reject_reason=change.reject_reason,
        complete_time=optional_timestamp(change.complete_time),
        changed_count=change.changed_count,
    )
