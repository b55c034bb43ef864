"""Write the JSON Schema of policy files, with which editors complete and check them, from the contract's descriptors.

Names, enums, limits and the texts that an editor shows all come from `hutong/policy/v1/policy.proto`. `make protos`
runs this after generating the stubs.

    python protos/policy_schema.py clients/hutong.binpb clients/python/hutong_client/policies/policy.schema.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "clients/python"))

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
)
from hutong.type.v1 import rules_pb2

POLICY = ".hutong.policy.v1.Policy"
REQUEST = ".hutong.policy.v1.PublishPolicyRequest"
_TEXTS = {
    ".google.protobuf.Timestamp": (
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$",
        "2022-08-05T00:00:00+08:00",
    ),
    ".google.protobuf.Duration": (r"^[0-9]+(\.[0-9]{1,9})?s$", "172800s"),
}
"""The pattern of a well-known type in the JSON mapping, and an example."""
_LENGTHS = ("duration", "calendar_days")
_ITEMS = ("accepted", "adverse_items", "adverse_window")
"""The fields of TestRequired that a floor may not state."""
_EXPRESSION = re.compile(r"this\.matches\(r'(.*)'\)")
"""The form of a predefined rule on texts: one regular expression."""


class Contract:
    """Messages, enums and their comments by full name."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self.messages: dict[str, DescriptorProto] = {}
        self.enums: dict[str, EnumDescriptorProto] = {}
        self.comments: dict[str, str] = {}
        for file in files.file:
            comments = {tuple(it.path): it.leading_comments for it in file.source_code_info.location}
            for index, message in enumerate(file.message_type):
                name = f".{file.package}.{message.name}"
                self.messages[name] = message
                for number, field in enumerate(message.field):
                    self.comments[f"{name}.{field.name}"] = _one_line(comments.get((4, index, 2, number), ""))
            for index, enum in enumerate(file.enum_type):
                name = f".{file.package}.{enum.name}"
                self.enums[name] = enum
                for number, value in enumerate(enum.value):
                    self.comments[f"{name}.{value.name}"] = _one_line(comments.get((5, index, 2, number), ""))

    def message(self, name: str) -> dict[str, Any]:
        """Return the schema of a message, without the fields that the service sets."""
        fields = [field for field in self.messages[name].field if not _is_output(field)]
        schema: dict[str, Any] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {field.name: self.field(name, field) for field in fields},
        }
        required = [field.name for field in fields if _rules(field).required]
        return schema | ({"required": required} if required else {})

    def field(self, message: str, field: FieldDescriptorProto) -> dict[str, Any]:
        """Return the schema of a field, with its comment."""
        described = {"description": self.comments[f"{message}.{field.name}"]}
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            rules = _rules(field).repeated
            most = {"maxItems": rules.max_items} if rules.max_items else {}
            unique = {"uniqueItems": True} if rules.unique else {}
            return described | {"type": "array", "items": self._value(field, rules.items)} | most | unique
        return described | self._value(field, _rules(field))

    def _value(self, field: FieldDescriptorProto, rules: validate_pb2.FieldRules) -> dict[str, Any]:
        if field.type == FieldDescriptorProto.TYPE_BOOL:
            return {"type": "boolean"}
        if field.type == FieldDescriptorProto.TYPE_INT32:
            return {"type": "integer", "minimum": rules.int32.gte, "maximum": rules.int32.lte}
        if field.type == FieldDescriptorProto.TYPE_STRING:
            return {"type": "string", **_text(rules)}
        if field.type == FieldDescriptorProto.TYPE_ENUM:
            values = [value.name for value in self.enums[field.type_name].value if value.number]
            descriptions = [self.comments[f"{field.type_name}.{value}"] for value in values]
            # JSON Schema has no descriptions of enum values; editors read this extension.
            return {"enum": values, "enumDescriptions": descriptions}
        if field.type_name in _TEXTS:
            pattern, example = _TEXTS[field.type_name]
            return {"type": "string", "pattern": pattern, "examples": [example]}
        return self.message(field.type_name)


def build_schema(files: FileDescriptorSet) -> dict[str, Any]:
    """Return the schema of one policy file."""
    contract = Contract(files)
    schema = contract.message(POLICY)
    properties = schema["properties"]
    # A file names a policy without a revision, which the service assigns.
    properties["name"]["pattern"] = properties["name"]["pattern"].replace("(@[0-9]+)?", "")
    (reason,) = (it for it in contract.messages[REQUEST].field if it.name == "retroactive_reason")
    properties["retroactive_reason"] = contract.field(REQUEST, reason)
    without_length = {"not": {"anyOf": [{"required": [length]} for length in _LENGTHS]}}
    with_length = {"oneOf": [{"required": [length]} for length in _LENGTHS]}
    floor_only = {"required": ["window"], "not": {"required": ["shortest_window"]}}
    asked = properties["test_required"]["properties"]
    asked["shortest_window"].update(with_length)
    asked["accepted"]["items"]["properties"]["window"].update(with_length)
    without_items = {"not": {"anyOf": [{"required": [field]} for field in _ITEMS]}}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Policy file of hutong policy apply",
        **schema,
        "oneOf": [{"required": ["not_required"]}, {"required": ["test_required"]}],
        "if": {"properties": {"floor": {"const": True}}, "required": ["floor"]},
        "then": _test_required({"properties": {"window": _floor_window(without_length)}, **without_items}),
        "else": _test_required({"properties": {"window": with_length}, **floor_only}),
    }


def _test_required(rule: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"test_required": rule}}


def _floor_window(rule: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"basis": {"enum": ["VALIDITY_BASIS_REPORT_TIME"]}}, **rule}


def _rules(field: FieldDescriptorProto) -> validate_pb2.FieldRules:
    rules: validate_pb2.FieldRules = field.options.Extensions[validate_pb2.field]
    return rules


def _is_output(field: FieldDescriptorProto) -> bool:
    behaviors = field.options.Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.OUTPUT_ONLY in behaviors


def _pattern(text: validate_pb2.StringRules) -> str:
    """Return the regular expression of a text, its own or that of a predefined rule; empty if it has none."""
    for extension in rules_pb2.DESCRIPTOR.extensions_by_name.values():
        if extension.containing_type is text.DESCRIPTOR and text.Extensions[extension]:
            (rule,) = extension.GetOptions().Extensions[validate_pb2.predefined].cel
            found = _EXPRESSION.fullmatch(rule.expression)
            assert found, f"{extension.name} is more than a regular expression"
            return found[1]
    return text.pattern


def _text(rules: validate_pb2.FieldRules) -> dict[str, Any]:
    text = rules.string
    found: dict[str, Any] = {"minLength": 1} if rules.required else {}
    if text.max_len:
        found["maxLength"] = text.max_len
    if pattern := _pattern(text):
        empty_too = rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE
        # The pattern is for RE2. JSON Schema's regular expressions write \xNN as \u00NN.
        pattern = pattern.replace("\\x", "\\u00")
        found["pattern"] = f"^$|{pattern}" if empty_too else pattern
    return found


def _one_line(comment: str) -> str:
    return " ".join(comment.split())


if __name__ == "__main__":
    descriptors, target = map(Path, sys.argv[1:])
    built = build_schema(FileDescriptorSet.FromString(descriptors.read_bytes()))
    target.write_text(json.dumps(built, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
