"""Conversion of pending changes and emergency grants to messages."""

from __future__ import annotations

from typing import cast

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from hutong.approval.v1 import emergency_grant_pb2, pending_change_pb2

from services.approval.model import EmergencyGrant, PendingChange
from services.domain.instant import Instant, optional_timestamp, to_timestamp
from services.domain.names import format_emergency_grant, format_pending_change


def pack(change: Message) -> bytes:
    """Return the stored form of a proposed change. Its request id is left out, because each attempt has its own id."""
    bare = type(change)()
    bare.CopyFrom(change)
    if "request_id" in bare.DESCRIPTOR.fields_by_name:
        bare.ClearField("request_id")
    packed = AnyMessage()
    packed.Pack(bare, deterministic=True)
    return packed.SerializeToString(deterministic=True)


def unpack(change: PendingChange, into: Message) -> None:
    """Parse a proposed change into the message `into`. Raises ValueError if the change has another type."""
    if not AnyMessage.FromString(change.change).Unpack(into):
        raise ValueError(f"{change.method} proposed another message")


def change_to_proto(change: PendingChange, now: Instant) -> pending_change_pb2.PendingChange:
    """Return the message of a change in its state at an instant."""
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
        emergency_grant="" if change.grant_id is None else format_emergency_grant(change.grant_id),
    )


def grant_to_proto(grant: EmergencyGrant, now: Instant) -> emergency_grant_pb2.EmergencyGrant:
    """Return the message of a grant in its state at an instant."""
    return emergency_grant_pb2.EmergencyGrant(
        name=format_emergency_grant(grant.grant_id),
        state=cast("emergency_grant_pb2.EmergencyGrantState.ValueType", int(grant.state_at(now))),
        holder=grant.holder,
        region=grant.region,
        reason=grant.reason,
        create_time=to_timestamp(grant.create_time),
        expire_time=to_timestamp(grant.expire_time),
        end_time=optional_timestamp(grant.end_time),
        ender=grant.ender,
        approved_count=grant.approved_count,
        reviewer=grant.reviewer,
        review_time=optional_timestamp(grant.review_time),
        review_note=grant.review_note,
    )
