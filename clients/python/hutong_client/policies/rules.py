"""Describe policies and effective policies in words."""

from __future__ import annotations

from collections.abc import Iterable

from hutong.policy.v1.policy_pb2 import (
    EffectivePolicy,
    FloorOverride,
    Policy,
    PolicySource,
    TravelerOrigin,
    ValidityBasis,
)
from hutong.type.v1.channel_pb2 import Channel
from hutong.type.v1.purpose_pb2 import Purpose

from hutong_client.formatting import span, word

_ORIGINS = {"any": "anywhere", "same province": "the same province", "other province": "another province"}


def describe_requirement(it: Policy | EffectivePolicy) -> str:
    """Describe the requirement: "a negative of 48 h from report time"."""
    requirement = it.WhichOneof("requirement")
    if requirement is None:
        return "No policy is in force"
    if requirement == "not_required":
        return "no result"
    length = describe_length(it)
    basis = word(ValidityBasis, it.test_required.window.basis, "VALIDITY_BASIS_")
    sampled = ""
    if it.test_required.HasField("sampling_proof_window"):
        sampled = f", or proof of sampling of {span(it.test_required.sampling_proof_window)}"
    return f"a negative{f' of {length}' if length else ''} from {basis}{sampled}"


def describe_length(it: Policy | EffectivePolicy) -> str:
    """Describe the length of the window: "48 h" or "3 calendar days"; empty for a floor."""
    window = it.test_required.window
    length = window.WhichOneof("length")
    if length == "duration":
        return span(window.duration)
    return f"{window.calendar_days} calendar days" if length else ""


def describe_purposes(purposes: Iterable[int]) -> str:
    """List purposes in words, separated by commas."""
    return ", ".join(word(Purpose, purpose, "PURPOSE_") for purpose in purposes)


def describe_origin(origin: int) -> str:
    """Describe an origin: "anywhere", "the same province" or "another province"."""
    return _ORIGINS[word(TravelerOrigin, origin, "TRAVELER_ORIGIN_")]


def describe_override(it: FloorOverride) -> str:
    """Describe what a floor replaced: "basis: sample time → report time"."""
    if it.WhichOneof("replaced") == "basis":
        stated, applied = (
            word(ValidityBasis, basis, "VALIDITY_BASIS_") for basis in (it.basis.stated, it.basis.applied)
        )
        return f"basis: {stated} → {applied}"
    stated, applied = (
        ", ".join(word(Channel, channel, "CHANNEL_") for channel in channels)
        for channels in (it.channels.stated, it.channels.applied)
    )
    return f"channels: {stated} → {applied}"


def describe_source(it: PolicySource) -> str:
    """Cite a document: its number or its title, and its address; empty if nothing is known."""
    return " ".join(text for text in (it.document_number or it.title, f"<{it.url}>" if it.url else "") if text)
