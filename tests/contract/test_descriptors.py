"""Tests that the contract documents itself, so that the descriptor set alone explains every part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

ROOT = Path(__file__).parents[2]
EVERY_FILE = FileDescriptorSet.FromString((ROOT / "clients/hutong.binpb").read_bytes()).file
FILES = [file for file in EVERY_FILE if file.package.startswith("hutong.")]
CODES = [code.name for code in grpc.StatusCode]
FORBIDDEN_WORDS = ("NOT_FOUND_IN_LOCAL", "NOT_TESTED_LOCALLY", "NOT_LOCAL", "LOCAL_CODE")

# Field numbers of descriptor.proto. Source paths consist of them.
MESSAGE, ENUM, SERVICE, EXTENSION = 4, 5, 6, 7
FIELD, NESTED_MESSAGE, NESTED_ENUM, ONEOF = 2, 3, 4, 8
VALUE, METHOD = 2, 2


def elements(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield everything with a name, with its source path."""
    for index, message in enumerate(file.message_type):
        yield from of_message((MESSAGE, index), message)
    for index, enum in enumerate(file.enum_type):
        yield from of_enum((ENUM, index), enum)
    for index, extension in enumerate(file.extension):
        yield (EXTENSION, index), extension.name
    for index, service in enumerate(file.service):
        yield (SERVICE, index), service.name
        for position, method in enumerate(service.method):
            yield (SERVICE, index, METHOD, position), f"{service.name}.{method.name}"


def of_message(path: tuple[int, ...], message: DescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, message.name
    for index, field in enumerate(message.field):
        yield (*path, FIELD, index), f"{message.name}.{field.name}"
    proto3_optional = {field.oneof_index for field in message.field if field.proto3_optional}
    for index, oneof in enumerate(message.oneof_decl):
        if index not in proto3_optional:
            yield (*path, ONEOF, index), f"{message.name}.{oneof.name}"
    for index, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from of_message((*path, NESTED_MESSAGE, index), nested)
    for index, enum in enumerate(message.enum_type):
        yield from of_enum((*path, NESTED_ENUM, index), enum)


def of_enum(path: tuple[int, ...], enum: EnumDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, enum.name
    for index, value in enumerate(enum.value):
        if value.number:
            yield (*path, VALUE, index), f"{enum.name}.{value.name}"


def comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {tuple(it.path): it.leading_comments.strip() for it in file.source_code_info.location if it.leading_comments}


def wrappers(file: FileDescriptorProto) -> set[str]:
    """Return the requests and responses of a file's RPCs. They need no comment, because their names explain them."""
    kinds = {name for service in file.service for it in service.method for name in (it.input_type, it.output_type)}
    return {name.rpartition(".")[2] for name in kinds}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_everything_has_a_comment(file: FileDescriptorProto) -> None:
    """Everything with a name has a comment, except requests, responses and the zero values of enums."""
    documented = comments(file)
    exempt = wrappers(file)
    assert [name for path, name in elements(file) if path not in documented and name not in exempt] == []


def test_descriptor_set_is_complete() -> None:
    """The set contains every file that its files import, and the files of error details."""
    names = {file.name for file in EVERY_FILE}
    assert {name for file in EVERY_FILE for name in file.dependency} <= names
    assert {"google/rpc/error_details.proto", "google/rpc/code.proto"} <= names


def fields() -> Iterator[tuple[str, FieldDescriptorProto]]:
    for file in FILES:
        for message in file.message_type:
            for field in message.field:
                yield f"{message.name}.{field.name}", field


def test_times_are_timestamps_and_say_so() -> None:
    """Every time is a Timestamp, so that no time lacks a zone, and its name ends in _time."""
    for name, field in fields():
        if field.name.endswith("_time") and not field.name.startswith("median_"):
            assert field.type_name == ".google.protobuf.Timestamp", name
        if field.type_name == ".google.protobuf.Timestamp":
            assert field.name.endswith("_time"), name
        if field.name.endswith("_time_micros"):
            # A column of times, because one message for each of many times would cost more than everything else.
            assert (field.type, field.label) == (FieldDescriptorProto.TYPE_INT64, FieldDescriptorProto.LABEL_REPEATED)


def test_every_enum_begins_with_unspecified_and_bears_its_prefix() -> None:
    """The zero value is UNSPECIFIED, so that a missing value is never taken for a real one."""
    for file in FILES:
        for enum in file.enum_type:
            prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
            assert (enum.value[0].name, enum.value[0].number) == (f"{prefix}UNSPECIFIED", 0)
            assert all(value.name.startswith(prefix) for value in enum.value)


def test_each_rpc_has_a_request_and_a_response_of_its_own() -> None:
    """No two RPCs share a message, so that each can change by itself."""
    for file in FILES:
        for service in file.service:
            for method in service.method:
                assert method.input_type == f".{file.package}.{method.name}Request"
                assert method.output_type == f".{file.package}.{method.name}Response"


def test_every_error_reason_is_documented_with_its_code_and_an_example() -> None:
    """The example of a status's reason is the ErrorInfo; that of a rejection's reason is the violation."""
    (file,) = (file for file in FILES if file.name.endswith("error_reason.proto"))
    documented = comments(file)
    for index, value in enumerate(file.enum_type[0].value):
        if value.number:
            text = documented[(ENUM, 0, VALUE, index)]
            assert "Example: " in text, value.name
            assert f'"reason":"{value.name.removeprefix("ERROR_REASON_")}"' in text, value.name
            assert "Only in a rejection" in text or any(code in text for code in CODES), value.name


def test_no_decision_can_rest_on_a_forbidden_ground() -> None:
    """No value of a decision names a ground that the notice of 29 July 2022 forbids."""
    (file,) = (file for file in FILES if file.name.endswith("verification/v1/decision.proto"))
    values = [value.name for enum in file.enum_type for value in enum.value]
    assert not [name for name in values for word in FORBIDDEN_WORDS if word in name]


def test_identities_appear_only_in_requests() -> None:
    """No response contains a document's number in clear, except those about links."""
    messages = {f".{file.package}.{message.name}": message for file in FILES for message in file.message_type}
    responses = [method.output_type for file in FILES for service in file.service for method in service.method]

    def reachable(name: str, seen: set[str]) -> set[str]:
        if name in messages and name not in seen:
            seen.add(name)
            for field in messages[name].field:
                reachable(field.type_name, seen)
        return seen

    holders = {name for name in responses if ".hutong.type.v1.IdentityDocument" in reachable(name, set())}
    # A link lists its documents. Only a caller that named one of them receives it.
    assert {name for name in holders if "Link" not in name} == set()
