"""The rules in the .proto files, applied: protovalidate's native engine, one validator for the process."""

from __future__ import annotations

import protovalidate
from google.protobuf.message import Message

from services.domain.errors import InvalidArgument, Violation

_validator = protovalidate.Validator()


def find_violations(message: Message) -> list[Violation]:
    """Every broken rule of a message; empty when it keeps them all. Descriptions never hold a field's value."""
    return [describe(violation) for violation in _validator.collect_violations(message)]


def check(message: Message) -> None:
    """Refuse a message that breaks a rule; InvalidArgument with all its violations."""
    found = _validator.collect_violations(message)
    if found:
        raise InvalidArgument.of([describe(violation) for violation in found])


def describe(violation: protovalidate.Violation) -> Violation:
    """One violation in our words: the field's path, and the rule's text."""
    proto = violation.proto
    path = ""
    if proto.field is not None:
        for element in proto.field.elements:
            path += f".{element.field_name}" if path else str(element.field_name)
            if element.subscript is not None and element.subscript.field == "index":
                path += f"[{element.subscript.value}]"
    return Violation(path, "INVALID_FIELD", str(proto.message))
