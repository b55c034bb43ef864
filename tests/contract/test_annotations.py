"""Tests of what the contract says as data: repeatability, behaviour of fields, resources, rules and paging."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import protovalidate
import pytest
from buf.validate import validate_pb2
from google.api import field_behavior_pb2, resource_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, MethodOptions
from hutong.type.v1 import rules_pb2

ROOT = Path(__file__).parents[2]
DESCRIBED: list[FileDescriptorProto] = [
    file
    for file in FileDescriptorSet.FromString((ROOT / "clients/hutong.binpb").read_bytes()).file
    if file.package.startswith("hutong.")
]
"""The files of the contract with their comments."""

NOT_REPEATABLE = {
    "Verify": "an adverse decision is stored each time",
    "BatchVerify": "as Verify",
    "StreamVerify": "as Verify",
}
"""RPCs that are not safe to repeat, with the reason."""
REQUIRED_BY_THE_SERVICE = {
    "PublishPolicyRequest.policy": "its rules are applied together with those of floors and jurisdiction",
    "UpdateLabRequest.lab": "only the fields to change are checked",
    "StreamVerifyRequest.request": "its faults are answered on the stream, which stays open",
    "TubeBatch.tubes": "a batch is checked item by item",
    "ReplicatedTubes.lab": "checked with the limits of the exchange",
    "ReplicatedTubes.key_version": "checked with the limits of the exchange",
    "ReplicatedTubes.upload_time": "checked with the limits of the exchange",
}
"""Required fields without a rule of protovalidate, with the reason."""
TIMES_CHECKED_BY_THE_SERVICE = {
    "VerifyRequest.use_time": "checked with the other fields of a question",
    "ReportRefusalRequest.refuse_time": "checked with the other fields of a report",
    "AnswerMissingReportRequest.expected_time": "lies between now and a limit ahead",
    "WatchNotificationsRequest.commit_time": "checked like all times that another node states",
    "ListPoliciesRequest.effective_time": "compared in memory only",
    "ResolvePolicyRequest.effective_time": "compared in memory only",
    "ResolvePolicyRequest.as_of_time": "compared in memory only",
    "PublishPolicyRequest.impact_time": "compared in memory only",
    "WithdrawPolicyRequest.impact_time": "compared in memory only",
}
"""Times in requests without a rule of protovalidate, with the reason."""
CHECKED_OFTEN = {
    "IdentityDocument",
    "Tube",
    "TubePerson",
    "PresentedEvidence",
    "ClaimedReport",
    "VerifyRequest",
    "ResolvePolicyRequest",
}
"""Messages that state patterns instead of predefined rules, because an engine tests patterns faster."""
NAMED_FIELDS = {
    "lab",
    "labs",
    "node",
    "source_node",
    "raising_node",
    "jurisdiction",
    "parent",
    "decision",
    "result",
    "policy",
    "floor",
    "governing",
}
NAMED_IN_COMMENT = re.compile(r'"(labs|nodes|jurisdictions|decisions|refusals|links)/|"…@\{revision\}"')


def load(file: FileDescriptorProto) -> FileDescriptor:
    importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
    return descriptor_pool.Default().FindFileByName(file.name)


FILES = [load(file) for file in DESCRIBED]
MESSAGES = [message for file in FILES for message in file.message_types_by_name.values()]
FIELDS = [field for message in MESSAGES for field in message.fields]
METHODS = [method for file in FILES for service in file.services_by_name.values() for method in service.methods]
COMMENTS = {
    f"{file.message_type[it.path[1]].name}.{file.message_type[it.path[1]].field[it.path[3]].name}": it.leading_comments
    for file in DESCRIBED
    for it in file.source_code_info.location
    if len(it.path) == 4 and (it.path[0], it.path[2]) == (4, 2)
}


def named(field: FieldDescriptor) -> str:
    message = field.containing_type
    assert message is not None
    return f"{message.name}.{field.name}"


def level(method: MethodDescriptor) -> int:
    return method.GetOptions().idempotency_level


def behaviors(field: FieldDescriptor) -> set[int]:
    return set(field.GetOptions().Extensions[field_behavior_pb2.field_behavior])


def resource_of(message: Descriptor) -> resource_pb2.ResourceDescriptor:
    found: resource_pb2.ResourceDescriptor = message.GetOptions().Extensions[resource_pb2.resource]
    return found


def referred(field: FieldDescriptor) -> str:
    reference = field.GetOptions().Extensions[resource_pb2.resource_reference]
    return reference.type or reference.child_type


def resource_types() -> Iterator[str]:
    yield from (resource_of(message).type for message in MESSAGES if resource_of(message).type)
    for file in FILES:
        yield from (it.type for it in file.GetOptions().Extensions[resource_pb2.resource_definition])


@pytest.mark.parametrize("file", DESCRIBED, ids=lambda file: file.name)
def test_every_language_has_its_package(file: FileDescriptorProto) -> None:
    """Packages follow one convention. A later change would break the imports of every client."""
    parts = file.package.split(".")
    assert file.options.go_package == f"github.com/hutong/hutong/clients/go/{'/'.join(parts)};{''.join(parts[1:])}"
    assert file.options.java_package == f"org.{file.package}"
    assert file.options.java_multiple_files
    assert file.options.csharp_namespace == ".".join(part.capitalize() for part in parts)


def test_every_rpc_says_whether_it_may_be_repeated() -> None:
    """Every RPC has an idempotency_level. An RPC with a request_id is idempotent."""
    for method in METHODS:
        assert method.GetOptions().HasField("idempotency_level"), method.full_name
        unknown = level(method) == MethodOptions.IDEMPOTENCY_UNKNOWN
        assert unknown == (method.name in NOT_REPEATABLE), method.full_name
        if "request_id" in method.input_type.fields_by_name:
            assert level(method) == MethodOptions.IDEMPOTENT, method.full_name


def test_required_fields_are_those_that_the_rules_require() -> None:
    """Validation of an empty message reports exactly the REQUIRED fields, except those that the service checks."""
    for message in MESSAGES:
        annotated = {field.name for field in message.fields if field_behavior_pb2.REQUIRED in behaviors(field)}
        by_the_service = {field.name for field in message.fields if named(field) in REQUIRED_BY_THE_SERVICE}
        assert by_the_service <= annotated, message.full_name
        missed = fields_reported_as_missing(message) & set(message.fields_by_name)
        assert missed == annotated - by_the_service, message.full_name


def fields_reported_as_missing(message: Descriptor) -> set[str]:
    """Return the fields that validation of an empty message reports."""
    return {
        element.field_name
        for violation in protovalidate.collect_violations(message_factory.GetMessageClass(message)())
        if violation.proto.field is not None
        for element in violation.proto.field.elements[:1]
    }


def test_behaviour_of_fields_does_not_contradict_itself() -> None:
    """No field is both output-only and required, and IDENTIFIER marks exactly the names of resources."""
    for field in FIELDS:
        assert not {field_behavior_pb2.REQUIRED, field_behavior_pb2.OUTPUT_ONLY} <= behaviors(field), named(field)
        is_name = field.name == "name" and bool(resource_of(field.containing_type).type)  # type: ignore[arg-type]
        assert (field_behavior_pb2.IDENTIFIER in behaviors(field)) == is_name, named(field)


def test_behaviour_of_fields_is_not_repeated_in_comments() -> None:
    """A repeated statement could one day contradict the annotation."""
    assert not [name for name, text in COMMENTS.items() if re.search(r"Required\.|[Oo]utput only", text)]


def test_every_resource_has_patterns_of_its_own() -> None:
    """No two resources share a type or a pattern."""
    types = list(resource_types())
    assert len(types) == len(set(types))
    patterns = [pattern for message in MESSAGES for pattern in resource_of(message).pattern]
    assert len(patterns) == len(set(patterns))


def test_every_name_of_a_resource_refers_to_it() -> None:
    """Every field that names a resource refers to a resource of the contract, in requests and responses."""
    known = set(resource_types())
    for field in (field for field in FIELDS if field.type == FieldDescriptor.TYPE_STRING):
        if referred(field):
            assert referred(field) in known, field.full_name
        elif field_behavior_pb2.IDENTIFIER not in behaviors(field):
            assert field.name not in NAMED_FIELDS, field.full_name
            assert not NAMED_IN_COMMENT.search(COMMENTS[named(field)]), field.full_name


def test_every_list_is_paged() -> None:
    """Lists have pages from the start (AIP-158). A client written before pages were added would miss the later ones."""
    for method in (method for method in METHODS if method.name.startswith(("List", "Summarize"))):
        assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name), method.full_name
        assert "next_page_token" in method.output_type.fields_by_name, method.full_name


def test_every_length_that_a_caller_states_has_an_upper_bound() -> None:
    """Without a bound, an instant computed from the length could lie outside the integers of the database."""
    for field in FIELDS:
        if field.message_type is None or field.message_type.full_name != "google.protobuf.Duration":
            continue
        rules = field.GetOptions().Extensions[validate_pb2.field].duration
        is_bounded = rules.WhichOneof("less_than") is not None
        is_asked = field.containing_type.name.endswith("Request")  # type: ignore[union-attr]
        assert is_bounded or not (is_asked or rules.WhichOneof("greater_than")), named(field)


def test_every_time_that_a_caller_states_has_bounds() -> None:
    """A time of another age lies outside the integers of the database, which answers with an error of its own."""
    unbounded = {
        named(field)
        for field in FIELDS
        if field.message_type is not None
        and field.message_type.full_name == "google.protobuf.Timestamp"
        and field.containing_type.name.endswith("Request")  # type: ignore[union-attr]
        and field.GetOptions().Extensions[validate_pb2.field].WhichOneof("type") != "timestamp"
    }
    assert unbounded == TIMES_CHECKED_BY_THE_SERVICE.keys()


def test_every_predefined_rule_has_a_readable_message() -> None:
    """The message contains no expression and no name of a type."""
    for extension in rules_pb2.DESCRIPTOR.extensions_by_name.values():
        (rule,) = extension.GetOptions().Extensions[validate_pb2.predefined].cel
        assert rule.id == f"hutong.{extension.name}"
        assert rule.message.startswith("must "), extension.name
        assert not re.search(r"regex|\bvalue\b|\^", rule.message), extension.name


def test_patterns_are_those_of_predefined_rules() -> None:
    """Each pattern is that of a predefined rule, which has the message. Only messages checked often have patterns."""
    predefined = expressions()
    for field in FIELDS:
        rules = field.GetOptions().Extensions[validate_pb2.field]
        for text in (rules.string, rules.repeated.items.string):
            if text.pattern:
                assert f"this.matches(r'{text.pattern}')" in predefined, field.full_name
                assert named(field).partition(".")[0] in CHECKED_OFTEN, field.full_name


def expressions() -> set[str]:
    extensions = rules_pb2.DESCRIPTOR.extensions_by_name.values()
    return {rule.expression for it in extensions for rule in it.GetOptions().Extensions[validate_pb2.predefined].cel}
