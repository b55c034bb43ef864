"""Converts policies and answers between messages and values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from google.api.field_behavior_pb2 import OUTPUT_ONLY, field_behavior
from hutong.policy.v1 import policy_pb2

from services.domain.errors import InvalidArgument
from services.domain.instant import (
    Instant,
    from_duration,
    from_timestamp,
    optional_timestamp,
    to_duration,
    to_timestamp,
)
from services.domain.names import format_item, format_node, format_policy, parse_item, parse_node, parse_policy
from services.policy.model import (
    ANY,
    NOT_REQUIRED,
    AcceptedItem,
    Answer,
    AnswerByOrigin,
    Effective,
    FloorOverride,
    Requirement,
    Revision,
    ShortestWindow,
    Source,
    Window,
)
from services.policy.rules.floors import CHANNELS

_ADDED = tuple(
    field.name
    for field in policy_pb2.Policy.DESCRIPTOR.fields
    if OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior]
)
"""The output-only fields. The service adds them to what the authority states."""


class Statement(NamedTuple):
    """What an authority stated in a policy.

    Attributes:
        region: the jurisdiction in the policy's name.
        policy_id: the last part of the policy's name.
        policy: the policy without output-only fields. Its name has no revision.
    """

    region: str
    policy_id: str
    policy: policy_pb2.Policy


def bare_statement(policy: policy_pb2.Policy) -> Statement:
    """Return what the authority stated in a policy.

    Raises:
        InvalidArgument: the name is malformed.
    """
    bare = policy_pb2.Policy()
    bare.CopyFrom(policy)
    _clear_added(bare)
    region, policy_id, _ = parse_policy(policy.name, "policy.name")
    bare.name = format_policy(region, policy_id)
    bare.origin = policy.origin or ANY
    return Statement(region, policy_id, bare)


def _clear_added(policy: policy_pb2.Policy) -> None:
    for field in _ADDED:
        policy.ClearField(field)  # type: ignore[arg-type]


def content_hash(revision: Revision) -> str:
    """Return the SHA-256 of what the authority stated. Equal policies have equal hashes.

    The hash is computed from the encoded message, where numbers identify fields and enum values. It therefore does not
    change if a field is renamed, or if a caller lists purposes in another order.
    """
    policy = revision_to_proto(revision)
    policy.name = format_policy(revision.region, revision.policy_id)
    _clear_added(policy)
    return hashlib.sha256(policy.SerializeToString(deterministic=True)).hexdigest()


def revision_from_proto(
    statement: Statement, revision: int, publish_time: Instant, retroactive_reason: str = "", hashed: str = ""
) -> Revision:
    """Return a revision of a statement. `hashed` is its content hash, if that is known already.

    It is not checked here whether the revision may be published.
    """
    made = _unhashed_revision(statement, revision, publish_time, retroactive_reason)
    return replace(made, content_hash=hashed or content_hash(made))


def _unhashed_revision(statement: Statement, revision: int, publish_time: Instant, retroactive_reason: str) -> Revision:
    bare = statement.policy
    return Revision(
        region=statement.region,
        policy_id=statement.policy_id,
        revision=revision,
        title=bare.title,
        source=Source(bare.source.document_number, bare.source.title, bare.source.url, bare.source.issue_date),
        purposes=tuple(sorted(bare.purposes)),
        origin=bare.origin or ANY,
        requirement=_requirement_from_proto(bare),
        channels=tuple(sorted(bare.channels)),
        forbidden_grounds=tuple(sorted(bare.forbidden_grounds)),
        advice=tuple(bare.advice),
        floor=bare.floor,
        start=from_timestamp(bare.effective_start_time),
        end=from_timestamp(bare.effective_end_time) if bare.HasField("effective_end_time") else None,
        publish_time=publish_time,
        retroactive_reason=retroactive_reason,
    )


def received_revision_from_proto(policy: policy_pb2.Policy, statement: Statement) -> Revision:
    """Return a revision that another node sent. `statement` is what the authority stated in `policy`.

    Raises:
        InvalidArgument: the name of the node that published the revision is malformed.
    """
    revision = revision_from_proto(
        statement, policy.revision, from_timestamp(policy.publish_time), policy.retroactive_reason, policy.content_hash
    )
    revision = replace(revision, node=parse_node(policy.node) if policy.node else None)
    if not policy.HasField("withdraw_time"):
        return revision
    return replace(revision, withdraw_time=from_timestamp(policy.withdraw_time), withdraw_reason=policy.withdraw_reason)


def _requirement_from_proto(policy: policy_pb2.Policy) -> Requirement:
    if not policy.HasField("test_required"):
        return NOT_REQUIRED
    asked = policy.test_required
    return Requirement(
        window=_window_from_proto(asked.window),
        sampling_proof=(
            from_duration(asked.sampling_proof_window) if asked.HasField("sampling_proof_window") else None
        ),
        refusal_permitted=asked.refusal_permitted,
        shortest=_shortest_from_proto(asked.shortest_window) if asked.HasField("shortest_window") else None,
        accepted=tuple(
            AcceptedItem(_item_from_name(one.item), _window_from_proto(one.window) if one.HasField("window") else None)
            for one in asked.accepted
        ),
        adverse_items=tuple(_item_from_name(name) for name in asked.adverse_items),
        adverse_window=from_duration(asked.adverse_window) if asked.HasField("adverse_window") else None,
    )


def _item_from_name(name: str) -> str:
    """Return the id of an item.

    A malformed name is returned unchanged, because publication reports it together with all other faults.
    """
    try:
        return parse_item(name)
    except InvalidArgument:
        return name


def _window_from_proto(window: policy_pb2.ValidityWindow) -> Window:
    length = window.WhichOneof("length")
    return Window(
        window.basis,
        from_duration(window.duration) if length == "duration" else None,
        window.calendar_days if length == "calendar_days" else None,
        window.includes_boundary,
    )


def _shortest_from_proto(window: policy_pb2.ShortestWindow) -> ShortestWindow:
    length = window.WhichOneof("length")
    return ShortestWindow(
        from_duration(window.duration) if length == "duration" else None,
        window.calendar_days if length == "calendar_days" else None,
        window.includes_boundary,
    )


def revision_to_proto(revision: Revision, *, with_actors: bool = False) -> policy_pb2.Policy:
    """Return the message of a revision, with the output-only fields."""
    policy = policy_pb2.Policy(
        name=revision.name,
        revision=revision.revision,
        title=revision.title,
        purposes=revision.purposes,  # type: ignore[arg-type]
        origin=revision.origin,  # type: ignore[arg-type]
        channels=revision.channels,  # type: ignore[arg-type]
        forbidden_grounds=revision.forbidden_grounds,  # type: ignore[arg-type]
        advice=revision.advice,
        floor=revision.floor,
        effective_start_time=to_timestamp(revision.start),
        effective_end_time=optional_timestamp(revision.end),
        publish_time=to_timestamp(revision.publish_time),
        withdraw_time=optional_timestamp(revision.withdraw_time),
        withdraw_reason=revision.withdraw_reason,
        retroactive_reason=revision.retroactive_reason,
        content_hash=revision.content_hash,
        node=format_node(revision.node) if revision.node is not None else "",
    )
    if with_actors:
        policy.actor, policy.withdraw_actor = revision.actor or "", revision.withdraw_actor or ""
    _put_source(policy.source, revision.source)
    _put_requirement(policy, revision.requirement)
    return policy


def _put_source(target: policy_pb2.PolicySource, source: Source) -> None:
    """Write the document of a policy into a message. The field stays absent if the document is empty."""
    if source == Source():
        return
    target.document_number = source.document_number
    target.title = source.title
    target.url = source.url
    target.issue_date = source.issue_date


def _put_requirement(target: policy_pb2.Policy | policy_pb2.EffectivePolicy, requirement: Requirement) -> None:
    if not requirement.is_test:
        target.not_required.SetInParent()
        return
    _put_test(target.test_required, requirement)


def _put_test(asked: policy_pb2.TestRequired, requirement: Requirement) -> None:
    asked.SetInParent()
    if requirement.window.basis:
        _put_window(asked.window, requirement.window)
    if requirement.shortest is not None:
        _put_shortest(asked.shortest_window, requirement.shortest)
    if requirement.sampling_proof is not None:
        asked.sampling_proof_window.CopyFrom(to_duration(requirement.sampling_proof))
    asked.refusal_permitted = requirement.refusal_permitted
    for one in requirement.accepted:
        accepted = asked.accepted.add(item=format_item(one.item))
        if one.window is not None:
            _put_window(accepted.window, one.window)
    asked.adverse_items.extend(format_item(item) for item in requirement.adverse_items)
    if requirement.adverse_window is not None:
        asked.adverse_window.CopyFrom(to_duration(requirement.adverse_window))


def _put_window(target: policy_pb2.ValidityWindow, window: Window) -> None:
    target.basis = window.basis  # type: ignore[assignment]
    target.includes_boundary = window.includes_boundary
    if window.duration is not None:
        target.duration.CopyFrom(to_duration(window.duration))
    if window.calendar_days is not None:
        target.calendar_days = window.calendar_days


def _put_shortest(target: policy_pb2.ShortestWindow, shortest: ShortestWindow) -> None:
    target.includes_boundary = shortest.includes_boundary
    if shortest.duration is not None:
        target.duration.CopyFrom(to_duration(shortest.duration))
    if shortest.calendar_days is not None:
        target.calendar_days = shortest.calendar_days


def answer_to_proto(answer: Answer) -> policy_pb2.EffectivePolicy:
    """Return the message of what applies, and in which interval. The caller adds as_of_time."""
    message = effective_to_proto(answer.effective)
    if answer.start is not None:
        message.start_time.CopyFrom(to_timestamp(answer.start))
    if answer.end is not None:
        message.end_time.CopyFrom(to_timestamp(answer.end))
    return message


def by_origin_to_proto(answer: AnswerByOrigin) -> policy_pb2.PoliciesByOrigin:
    """Return the message of what applies to each origin. The caller adds as_of_time to both policies."""
    return policy_pb2.PoliciesByOrigin(
        same_province=answer_to_proto(answer.same_province),
        other_province=answer_to_proto(answer.other_province),
        forbidden_grounds=answer.forbidden_grounds,  # type: ignore[arg-type]
        start_time=optional_timestamp(answer.start),
        end_time=optional_timestamp(answer.end),
    )


def effective_to_proto(effective: Effective) -> policy_pb2.EffectivePolicy:
    """Return the message of an effective policy."""
    message = policy_pb2.EffectivePolicy(
        channels=effective.channels,  # type: ignore[arg-type]
        forbidden_grounds=effective.forbidden_grounds,  # type: ignore[arg-type]
        advice=effective.advice,
        governing=effective.governing,
        floor=effective.floors[0] if effective.floors else "",
        lower_floors=effective.floors[1:],
        overrides=overrides_to_proto(effective.overrides),
        lifting_floor=effective.lifting_floor,
    )
    _put_source(message.governing_source, effective.governing_source)
    _put_source(message.floor_source, effective.floor_source)
    _put_source(message.lifting_source, effective.lifting_source)
    for window in effective.shortest_windows:
        _put_shortest(message.shortest_windows.add(floor=window.floor).shortest_window, window.shortest)
    if effective.requirement is not None:
        _put_requirement(message, effective.requirement)
    return message


def overrides_to_proto(overrides: Sequence[FloorOverride]) -> list[policy_pb2.FloorOverride]:
    """Return the messages of floor overrides."""
    return [_override_to_proto(override) for override in overrides]


def _override_to_proto(override: FloorOverride) -> policy_pb2.FloorOverride:
    message = policy_pb2.FloorOverride(
        floor=override.floor, policy=override.policy, start_time=optional_timestamp(override.start)
    )
    stated, applied = override.stated, override.applied
    if isinstance(stated, Requirement):
        _put_test(message.lift.stated, stated)
    elif isinstance(stated, Window):
        assert isinstance(applied, ShortestWindow)
        message.window.item = override.item
        _put_window(message.window.stated, stated)
        _put_shortest(message.window.applied, applied)
    elif override.field == CHANNELS:
        message.channels.stated.extend(stated)  # type: ignore[arg-type]
        message.channels.applied.extend(applied)  # type: ignore[arg-type]
    else:
        message.basis.item = override.item
        (message.basis.stated,) = stated  # type: ignore[assignment]
        (message.basis.applied,) = applied  # type: ignore[assignment,misc]
    return message
