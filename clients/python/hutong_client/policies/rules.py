"""Describe policies and effective policies in words."""

from __future__ import annotations

from collections.abc import Iterable

from hutong.policy.v1.policy_pb2 import (
    TRAVELER_ORIGIN_ANY,
    TRAVELER_ORIGIN_OTHER_PROVINCE,
    TRAVELER_ORIGIN_SAME_PROVINCE,
    EffectivePolicy,
    FloorOverride,
    Policy,
    PolicySource,
    ShortestWindow,
    TestRequired,
    ValidityBasis,
    ValidityWindow,
)
from hutong.type.v1.channel_pb2 import Channel
from hutong.type.v1.purpose_pb2 import Purpose
from hutong_texts import english, list_words, tr

from hutong_client.formatting import item_name, span, word

_ORIGINS: dict[int, str] = {
    TRAVELER_ORIGIN_ANY: english("anywhere"),
    TRAVELER_ORIGIN_SAME_PROVINCE: english("the same province"),
    TRAVELER_ORIGIN_OTHER_PROVINCE: english("another province"),
}


def describe_requirement(it: Policy | EffectivePolicy) -> str:
    """Describe the requirement: "a negative of 48 h from report time"."""
    requirement = it.WhichOneof("requirement")
    if requirement is None:
        return tr("No policy is in force")
    if requirement == "not_required":
        return tr("no result")
    return describe_test(it.test_required) + describe_shortest(it)


def describe_test(test: TestRequired) -> str:
    """Describe what is asked for: "a negative of 48 h from report time"."""
    sampled = ""
    if test.HasField("sampling_proof_window"):
        sampled = tr(
            ", or proof of sampling of {sampling_proof_window}", sampling_proof_window=span(test.sampling_proof_window)
        )
    return tr(
        "a negative{accepted}{sampled}{adverse}",
        accepted=_describe_accepted(test),
        sampled=sampled,
        adverse=_describe_adverse(test),
    )


def _describe_accepted(test: TestRequired) -> str:
    """Describe each window, with its items if the policy names items: " of 48 h from report time (antigen)"."""
    if not test.accepted:
        return _describe_window(test.window)
    items: dict[str, list[str]] = {}
    for one in test.accepted:
        window = one.window if one.HasField("window") else test.window
        items.setdefault(_describe_window(window), []).append(item_name(one.item))
    return tr(" or").join(f"{window} ({list_words(names)})" for window, names in items.items())


def _describe_window(window: ValidityWindow) -> str:
    length = _length(window)
    basis = word(ValidityBasis, window.basis, "VALIDITY_BASIS_") if window.basis else ""
    return (
        f"{(tr(' of {length}', length=length) if length else '')}{(tr(' from {basis}', basis=basis) if basis else '')}"
    )


def _describe_adverse(test: TestRequired) -> str:
    """Describe the adverse items, and how long a positive stands; empty if the policy states neither."""
    if not test.adverse_items and not test.HasField("adverse_window"):
        return ""
    items = tr(", then of ").join(item_name(item) for item in test.adverse_items)
    within = (
        tr(", sampled within {adverse_window}", adverse_window=span(test.adverse_window))
        if test.HasField("adverse_window")
        else ""
    )
    return tr(
        ", and no uncleared positive{ending}{within}",
        ending=tr(" of {items}", items=items) if items else "",
        within=within,
    )


def describe_shortest(it: Policy | EffectivePolicy) -> str:
    """Describe the shortest windows of floors: ", at least 48 h"; empty if no floor has one."""
    if isinstance(it, EffectivePolicy):
        windows = [window.shortest_window for window in it.shortest_windows]
    else:
        windows = [it.test_required.shortest_window] if it.test_required.HasField("shortest_window") else []
    return "".join(f", {_least(window)}" for window in windows)


def describe_length(it: Policy | EffectivePolicy) -> str:
    """Describe the length of each window: "48 h", "3 calendar days" or "48 h or 24 h"; empty for a floor."""
    test = it.test_required
    windows = [one.window if one.HasField("window") else test.window for one in test.accepted] or [test.window]
    return tr(" or ").join(dict.fromkeys(_length(window) for window in windows))


def _length(window: ValidityWindow | ShortestWindow) -> str:
    length = window.WhichOneof("length")
    if length == "duration":
        return span(window.duration)
    return tr("{calendar_days} calendar days", calendar_days=window.calendar_days) if length else ""


def _least(window: ShortestWindow) -> str:
    included = window.includes_boundary and window.WhichOneof("length") == "duration"
    return tr(
        "at least {window}{ending}",
        window=_length(window),
        ending=tr(", the last instant included") if included else "",
    )


def describe_answer(it: EffectivePolicy) -> str:
    """Describe what applies and by which policy: "no policy, lifted by …@1 (no result)"."""
    lifted = tr(", lifted by {lifting_floor}", lifting_floor=it.lifting_floor) if it.lifting_floor else ""
    if it.WhichOneof("requirement") is None:
        return tr("no policy")
    return f"{it.governing or tr('no policy')}{lifted} ({describe_requirement(it)})"


def describe_purposes(purposes: Iterable[int]) -> str:
    """List purposes in words, separated by commas."""
    return list_words(word(Purpose, purpose, "PURPOSE_") for purpose in purposes)


def describe_origin(origin: int) -> str:
    """Describe an origin: "anywhere", "the same province" or "another province"."""
    return tr(_ORIGINS[origin])


def describe_override(it: FloorOverride) -> str:
    """Describe what a floor replaced: "basis: sample time → report time"."""
    replaced = it.WhichOneof("replaced")
    if replaced == "lift":
        return tr("{stated} → no result", stated=describe_test(it.lift.stated))
    if replaced == "window":
        return tr(
            "window{item}: {stated} → {applied}",
            item=_of_item(it.window.item),
            stated=_length(it.window.stated),
            applied=_least(it.window.applied),
        )
    if replaced == "basis":
        stated, applied = (
            word(ValidityBasis, basis, "VALIDITY_BASIS_") for basis in (it.basis.stated, it.basis.applied)
        )
        return tr("basis{item}: {stated} → {applied}", item=_of_item(it.basis.item), stated=stated, applied=applied)
    stated, applied = (
        list_words(word(Channel, channel, "CHANNEL_") for channel in channels)
        for channels in (it.channels.stated, it.channels.applied)
    )
    return tr("channels: {stated} → {applied}", stated=stated, applied=applied)


def _of_item(item: str) -> str:
    return tr(" of {item}", item=item_name(item)) if item else ""


def describe_source(it: PolicySource) -> str:
    """Cite a document: its number or its title, and its address; empty if nothing is known."""
    return " ".join(part for part in (it.document_number or tr(it.title), f"<{it.url}>" if it.url else "") if part)
