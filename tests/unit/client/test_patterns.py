"""No pattern of the contract reaches a person as an expression."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hutong_client import InvalidArgument, from_status
from hutong_client.cli.main import describe_error
from hutong_client.patterns import word_pattern, word_patterns

CONTRACT = Path(__file__).parents[3] / "clients/hutong.binpb"


def patterns_in(messages: Iterator[DescriptorProto]) -> Iterator[str]:
    """The patterns of all fields, and of the items of repeated ones."""
    for message in messages:
        for field in message.field:
            rules = field.options.Extensions[validate_pb2.field]  # type: ignore[index]
            yield from (rule.string.pattern for rule in (rules, rules.repeated.items) if rule.string.pattern)
        yield from patterns_in(iter(message.nested_type))


def contract_patterns() -> list[str]:
    files = FileDescriptorSet.FromString(CONTRACT.read_bytes()).file
    return sorted(
        {
            pattern
            for file in files
            if file.package.startswith("hutong.")
            for pattern in patterns_in(iter(file.message_type))
        }
    )


@pytest.mark.parametrize("pattern", contract_patterns())
def test_every_pattern_of_the_contract_has_words_of_its_own(pattern: str) -> None:
    """One that is added later must not come out as an expression."""
    assert word_pattern(pattern) != word_pattern("of no contract")
    assert "[" not in word_pattern(pattern)


def test_an_error_tells_what_to_write() -> None:
    """In its message, in its fields, and in the one line that a command prints."""
    machine_made = "does not match regex pattern `^[0-9]{6}$`"
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=f"region: {machine_made} (and 1 more)")
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field=field, reason="INVALID_FIELD", description=description)
        for field, description in (("region", machine_made), ("number", "does not match regex pattern `^[A-Z]{9}$`"))
    ]
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="INVALID_FIELD", domain="hutong"))
    error = from_status(status)
    assert isinstance(error, InvalidArgument)
    region = "must be a region as its six digits of GB/T 2260, like 410105"
    assert error.message == f"region: {region} (and 1 more)"
    assert [fault.description for fault in error.field_violations] == [region, "is not written as the contract asks"]
    assert describe_error(error) == (
        f"INVALID_FIELD: region: {region} (and 1 more) (number: is not written as the contract asks)"
    )


def test_what_somebody_wrote_stays() -> None:
    assert word_patterns("must be after the start") == "must be after the start"
