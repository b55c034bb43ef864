"""Tests of what the contract says about access: every RPC states it, and the page for readers is made from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from hutong.access.v1 import access_pb2
from hutong.access.v1.access_pb2 import Access

from services.runtime.server.interceptors.authorization import read_rules
from services.runtime.server.interceptors.method import Method
from tests.support.access.methods import METHODS, ROOT


def access_of(method: MethodDescriptor) -> Access:
    return method.GetOptions().Extensions[access_pb2.access]


def field_at(method: MethodDescriptor, path: str) -> FieldDescriptor:
    message = method.input_type
    *parents, last = path.split(".")
    for name in parents:
        field = message.fields_by_name[name.removesuffix("[]")]
        assert field.is_repeated == name.endswith("[]"), path
        assert field.message_type is not None
        message = field.message_type
    return message.fields_by_name[last]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_rpc_says_who_may_call_it(method: MethodDescriptor) -> None:
    """An RPC has grants and a cost; a grant has a role, and binds a field of the request that can be the caller's."""
    access = access_of(method)
    assert access.grants
    assert access.cost != access_pb2.COST_UNSPECIFIED
    for grant in access.grants:
        assert grant.role != access_pb2.ROLE_UNSPECIFIED
        assert grant.bind != access_pb2.BIND_UNSPECIFIED
        assert bool(grant.field) or grant.bind == access_pb2.BIND_ANY
        if grant.field:
            field = field_at(method, grant.field)
            is_document = field.message_type is not None and field.message_type.name == "IdentityDocument"
            assert is_document or field.type == FieldDescriptor.TYPE_STRING
            assert not is_document or grant.bind in {access_pb2.BIND_OWN_USER, access_pb2.BIND_ANY}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_items_of_one_method_are_of_one_batch(method: MethodDescriptor) -> None:
    """The service rules on the items of one field. A role's grants are all about items, or none is."""
    batches: dict[int, set[str]] = {}
    for grant in access_of(method).grants:
        if grant.field:
            batches.setdefault(grant.role, set()).add(grant.field.partition("[].")[0] if "[]." in grant.field else "")
    assert all(len(found) == 1 for found in batches.values())
    for batch in {name for found in batches.values() for name in found if name}:
        options = method.input_type.fields_by_name[batch].GetOptions()
        assert options.Extensions[validate_pb2.field].repeated.max_items, "the layer refuses a batch beyond it"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_request_with_a_view_says_what_each_role_may_see(method: MethodDescriptor) -> None:
    """All grants of one role state the same view, because the service looks it up by the role."""
    messages = [method.input_type, *(field.message_type for field in method.input_type.fields if field.message_type)]
    has_views = any("view" in message.fields_by_name for message in messages if message is not None)
    views = {(grant.role, grant.view) for grant in access_of(method).grants}
    assert len({role for role, _ in views}) == len(views)
    assert {bool(view) for _, view in views} == {has_views}


def test_no_gate_sees_a_result() -> None:
    """No answer to a gate has a message TestResult, so none has a sampling site, a tube or a mask."""
    seen: set[str] = set()
    left = [
        method.output_type
        for method in METHODS
        for grant in access_of(method).grants
        if grant.role == access_pb2.ROLE_GATE
    ]
    while left:
        message = left.pop()
        if message.full_name not in seen:
            seen.add(message.full_name)
            has_views = any(field.GetOptions().Extensions[access_pb2.minimal] for field in message.fields)
            left += [
                field.message_type
                for field in message.fields
                if field.message_type is not None
                and (not has_views or field.GetOptions().Extensions[access_pb2.minimal])
            ]
    assert "hutong.verification.v1.Decision" in seen
    assert not {"hutong.results.v1.TestResult", "hutong.verification.v1.Considered"} & seen


def test_a_method_that_the_contract_does_not_know_is_permitted_to_nobody() -> None:
    rules = read_rules(Method("/hutong.none.v1.NoService/None", request_streaming=False, response_streaming=False))
    assert not rules.free
    assert not any(rules.of(role.removeprefix("ROLE_").lower()) for role in access_pb2.Role.DESCRIPTOR.values_by_name)


def test_the_page_is_fresh(tmp_path: Path) -> None:
    """docs/access.md is what `make protos` writes."""
    made = tmp_path / "access.md"
    command = [sys.executable, "protos/access_table.py", "clients/hutong.binpb", str(made)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    assert made.read_text(encoding="utf-8") == (ROOT / "docs/access.md").read_text(encoding="utf-8")
