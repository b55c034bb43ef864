"""Validates messages against the rules in the .proto files, with one native engine of protovalidate for the process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import cast

import protovalidate
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hutong.type.v1 import rules_pb2
from hutong_texts import Text, english

from services.domain.errors import InvalidArgument, Violation

_validator = protovalidate.Validator()
_TEMPLATES = {
    "const": english("must equal {value}"),
    "defined_only": english("value must be one of the defined enum values"),
    "gt": english("must be greater than {low}"),
    "gt_lte": english("must be greater than {low} and less than or equal to {high}"),
    "gte": english("must be greater than or equal to {low}"),
    "gte_lt": english("must be greater than or equal to {low} and less than {high}"),
    "gte_lte": english("must be greater than or equal to {low} and less than or equal to {high}"),
    "in": english("must be in list {values}"),
    "len": english("must be {length} bytes"),
    "lt": english("must be less than {high}"),
    "lte": english("must be less than or equal to {high}"),
    "max_items": english("must contain no more than {most} item(s)"),
    "max_len": english("must be at most {most} characters"),
    "min_items": english("must contain at least {least} item(s)"),
    "min_len": english("must be at least {least} characters"),
    "pattern": english("does not match regex pattern `{pattern}`"),
    "unique": english("repeated value must contain unique items"),
    "uri": english("must be a valid URI"),
    "uuid": english("must be a valid UUID"),
    "required": english("value is required"),
}
"""The messages of protovalidate's own rules, by the name of the rule."""
_EXPRESSION = re.compile(r"this\.matches\(r'(.*)'\)")


def find_violations(message: Message) -> list[Violation]:
    """Return every broken rule of a message. The descriptions never contain the value of a field."""
    return [describe(violation) for violation in _validator.collect_violations(message)]


def check(message: Message) -> None:
    """Raise InvalidArgument with all violations if a message breaks a rule."""
    found = _validator.collect_violations(message)
    if found:
        raise InvalidArgument.of([describe(violation) for violation in found])


def check_each(batch: Message) -> list[InvalidArgument | None]:
    """Return, for each of a batch's `requests`, the error that `check` would raise; None for a valid request.

    The engine checks all requests in one call, because each call costs more than the check of a small message.
    """
    field = batch.DESCRIPTOR.fields_by_name["requests"]
    # The bytes of the batch are parsed as a type that has no rules of its own. Copying the items would take many times
    # as long.
    together = _list_like(field).FromString(batch.SerializeToString())
    broken: dict[int, list[Violation]] = {}
    for violation in _validator.collect_violations(together):
        index, described = _describe_within(violation)
        broken.setdefault(index, []).append(described)
    count = len(getattr(batch, field.name))
    if not broken:
        return [None] * count
    return [InvalidArgument.of(broken[index]) if index in broken else None for index in range(count)]


def describe(violation: protovalidate.Violation, skip: int = 0) -> Violation:
    """Convert a violation: the field's path without its first `skip` elements, and the rule's text."""
    proto = violation.proto
    path = ""
    if proto.field is not None:
        for element in proto.field.elements[skip:]:
            path += f".{element.field_name}" if path else str(element.field_name)
            if element.subscript is not None and element.subscript.field == "index":
                path += f"[{element.subscript.value}]"
    text = str(proto.message)
    if proto.rule_id == "string.pattern":
        # A field that is checked very often repeats the expression of a predefined rule, for the reason that
        # rules.proto gives.
        text = _messages_by_pattern().get(str(violation.rule_value), text)
    return Violation(path, "INVALID_FIELD", _with_template(proto.rule_id, text))


def _with_template(rule: str, message: str) -> Text:
    """Return the message of a rule.

    If the engine has filled the rule's limits into it, the text also has its template.
    """
    template = _TEMPLATES.get(rule.partition(".")[2]) or _TEMPLATES.get(rule)
    if template is None:
        # The message of a rule of this contract is its own template, without values.
        return Text(message)
    found = _pattern_of(template).fullmatch(message)
    return Text(template, found.groupdict()) if found else Text(message)


def recognize(message: str) -> Text:
    """Return a description that another service has sent in English.

    If it is protovalidate's, the text gets its template.
    """
    for template in _TEMPLATES.values():
        found = _pattern_of(template).fullmatch(message)
        if found and found.groupdict():
            return Text(template, found.groupdict())
    return Text(message)


@cache
def _pattern_of(template: str) -> re.Pattern[str]:
    """Return the regular expression that finds the values in a text made from an English template."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.*)", re.escape(template)), re.DOTALL)


@cache
def _messages_by_pattern() -> Mapping[str, str]:
    """Return the messages of the predefined text rules, by the regular expressions of the rules."""
    messages = {}
    for extension in rules_pb2.DESCRIPTOR.extensions_by_name.values():
        rules: validate_pb2.PredefinedRules = extension.GetOptions().Extensions[validate_pb2.predefined]  # type: ignore[index]
        (rule,) = rules.cel
        found = _EXPRESSION.fullmatch(rule.expression)
        if found:
            messages[found[1]] = rule.message
    return messages


def _describe_within(violation: protovalidate.Violation) -> tuple[int, Violation]:
    """Return the index of the item that breaks a rule, and the violation with its path inside the item."""
    field = violation.proto.field
    assert field is not None
    subscript = field.elements[0].subscript
    assert subscript is not None
    return int(cast("int", subscript.value)), describe(violation, 1)


@cache
def _list_like(field: FieldDescriptor) -> type[Message]:
    """Return a message type that has the same repeated field but no rules of its own. It is never sent."""
    item = field.message_type
    assert item is not None
    file = descriptor_pb2.FileDescriptorProto(
        name=f"hutong/runtime/list_like/{field.full_name}.proto",
        package="hutong.runtime.list_like",
        syntax="proto3",
        dependency=[item.file.name],
    )
    listing = file.message_type.add(name=field.full_name.replace(".", "_"))
    kinds = descriptor_pb2.FieldDescriptorProto
    listing.field.add(
        name=field.name,
        number=field.number,
        type=kinds.TYPE_MESSAGE,
        label=kinds.LABEL_REPEATED,
        type_name=f".{item.full_name}",
    )
    pool = item.file.pool
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{listing.name}"))
