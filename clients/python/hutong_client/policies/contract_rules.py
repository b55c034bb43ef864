"""The contract's rules on texts, numbers and lists, applied without a server: as far as they are plain limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hutong_client.predefined_rules import MESSAGES, find_text_rules

_BOUNDED = (Duration, Timestamp)


def find_broken_rules(message: Message, within: str = "") -> Iterator[tuple[str, str]]:
    """Each field that is set and breaks a limit of its own, by its path, with what it must be."""
    for field, value in message.ListFields():
        path = f"{within}.{field.name}" if within else field.name
        rules: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.field]  # type: ignore[index]
        if not field.is_repeated:
            yield from _find_in_value(field, rules, value, path)
            continue
        most = rules.repeated.max_items
        if most and len(value) > most:
            yield path, f"must have at most {most} items"
            continue
        for index, item in enumerate(value):
            yield from _find_in_value(field, rules.repeated.items, item, f"{path}[{index}]")


def _find_in_value(
    field: FieldDescriptor, rules: validate_pb2.FieldRules, value: Any, path: str
) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield from ((path, fault) for fault in _text_faults(rules, value))
    elif isinstance(value, int) and field.type == FieldDescriptor.TYPE_INT32:
        if rules.int32.HasField("lte") and value > rules.int32.lte:
            yield path, f"must be at most {rules.int32.lte}"
    elif isinstance(value, _BOUNDED):
        limits: Any = rules.duration if isinstance(value, Duration) else rules.timestamp
        if limits.HasField("lte") and value.ToNanoseconds() > limits.lte.ToNanoseconds():
            yield path, f"must be at most {limits.lte.ToJsonString()}"
        if limits.HasField("gte") and value.ToNanoseconds() < limits.gte.ToNanoseconds():
            yield path, f"must be at least {limits.gte.ToJsonString()}"
        if limits.HasField("gt") and value.ToNanoseconds() <= limits.gt.ToNanoseconds():
            yield path, "must be more than zero"
    elif isinstance(value, Message):
        yield from find_broken_rules(value, path)


def _text_faults(rules: validate_pb2.FieldRules, text: str) -> Iterator[str]:
    most, pattern = rules.string.max_len, rules.string.pattern
    if most and len(text) > most:
        yield f"must have at most {most} characters"
    if pattern and not re.search(pattern, text):
        yield MESSAGES[pattern]
    yield from (words for expression, words in find_text_rules(rules.string) if not re.search(expression, text))
