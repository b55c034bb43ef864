"""Predefined rules on strings in `hutong/type/v1/rules.proto`: the regular expression and the message of each."""

from __future__ import annotations

import re
from collections.abc import Iterator

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor
from hutong.type.v1 import rules_pb2

_EXPRESSION = re.compile(r"this\.matches\(r'(.*)'\)")


def find_text_rules(text: validate_pb2.StringRules) -> Iterator[tuple[str, str]]:
    """Yield the expression and the message of each predefined rule that a field's options name."""
    for extension, rule in _RULES:
        if text.Extensions[extension]:
            yield rule


def _read_rules() -> Iterator[tuple[FieldDescriptor, tuple[str, str]]]:
    for extension in rules_pb2.DESCRIPTOR.extensions_by_name.values():
        rules: validate_pb2.PredefinedRules = extension.GetOptions().Extensions[validate_pb2.predefined]  # type: ignore[index]
        (rule,) = rules.cel
        found = _EXPRESSION.fullmatch(rule.expression)
        if found:
            yield extension, (found[1], rule.message)


_RULES = tuple(_read_rules())
MESSAGES = dict(rule for _, rule in _RULES)
"""The message of each rule, by its regular expression."""
