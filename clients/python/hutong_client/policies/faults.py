"""Find the faults of a policy that can be found without a service: broken rules of the contract and of files."""

from __future__ import annotations

import re
from collections.abc import Iterator

import protovalidate
from google.protobuf.message import Message
from hutong.policy.v1.policy_pb2 import VALIDITY_BASIS_SAMPLE_TIME, Policy
from hutong_texts import tr

_NAME = re.compile(r"jurisdictions/[0-9]{6}/policies/[a-z][a-z0-9-]{0,62}")
_OWN_WORDS = {"name", "requirement"}
"""Fields whose faults are described in this module and not by the contract's rules."""


def find_faults(policy: Policy) -> Iterator[str]:
    """Yield each fault of a policy from a file."""
    if not _NAME.fullmatch(policy.name):
        yield tr("name: must be jurisdictions/{region}/policies/{policy_id}, without a revision")
    yield from _find_requirement_faults(policy)
    yield from find_broken_rules(policy)


def find_broken_rules(message: Message) -> list[str]:
    """Describe each broken rule of the contract by the field's path and the service's description."""
    violations = protovalidate.collect_violations(message)
    described = [(_path(violation), violation.proto.message.removeprefix("value ")) for violation in violations]
    return [f"{path}: {text}" if path else text for path, text in described if path not in _OWN_WORDS]


def _path(violation: protovalidate.Violation) -> str:
    """Return a field's path, as "advice[1]"; empty for a rule on the whole message."""
    path = ""
    if violation.proto.field is not None:
        for element in violation.proto.field.elements:
            path += f".{element.field_name}" if path else str(element.field_name)
            if element.subscript is not None and element.subscript.field == "index":
                path += f"[{element.subscript.value}]"
    return path


def _find_requirement_faults(policy: Policy) -> Iterator[str]:
    requirement = policy.WhichOneof("requirement")
    if requirement is None:
        yield tr("test_required or not_required: one of them is required")
    if requirement != "test_required":
        return
    length = policy.test_required.window.WhichOneof("length")
    if policy.floor and length:
        yield tr("test_required.window: a floor has no length; each jurisdiction sets its own length")
    if policy.floor and policy.test_required.window.basis == VALIDITY_BASIS_SAMPLE_TIME:
        yield tr("test_required.window.basis: a floor counts from the report or leaves the basis open")
    if not policy.floor and policy.test_required.HasField("shortest_window"):
        yield tr("test_required.shortest_window: only a floor has one")
    if not policy.floor and not length:
        yield tr("test_required.window: duration or calendar_days is required")
    yield from _find_item_faults(policy)


def _find_item_faults(policy: Policy) -> Iterator[str]:
    test = policy.test_required
    if policy.floor:
        fields = ("accepted", "adverse_items", "adverse_window")
        stated = [field.name for field, _ in test.ListFields() if field.name in fields]
        yield from (tr("test_required.{field}: a floor states no items", field=field) for field in stated)
        return
    for index, one in enumerate(test.accepted):
        if one.HasField("window") and not one.window.WhichOneof("length"):
            yield tr("test_required.accepted[{index}].window: duration or calendar_days is required", index=index)
