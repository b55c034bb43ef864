"""Policies between messages and values: nothing is lost, and equal content has equal hashes."""

from __future__ import annotations

import random

import pytest
from hutong.policy.v1 import policy_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from services.policy.convert import answer_to_proto, bare_statement, revision_from_proto, revision_to_proto
from services.policy.model import SAME_PROVINCE, AcceptedItem, Requirement, Window
from services.policy.rules.resolve import PolicyBook
from tests.support.policy.factories import HOUR, make_revision, random_set

NUCLEIC_ACID, ANTIGEN = "items/sars-cov-2-nucleic-acid", "items/sars-cov-2-antigen"


def make_policy() -> policy_pb2.Policy:
    """Return a policy that states no item, with everything else of a required result."""
    policy = policy_pb2.Policy(name="jurisdictions/410100/policies/hotel", title="made up", purposes=[4])  # type: ignore[list-item]
    policy.advice.append("advice")
    asked = policy.test_required
    asked.window.basis = policy_pb2.VALIDITY_BASIS_SAMPLE_TIME
    asked.window.duration.seconds = 172_800
    asked.window.includes_boundary = True
    asked.sampling_proof_window.seconds = 86_400
    asked.refusal_permitted = True
    policy.effective_start_time.seconds = 1_660_000_000
    return policy


def make_floor() -> policy_pb2.Policy:
    """Return a floor with a basis and a shortest window."""
    floor = policy_pb2.Policy(name="jurisdictions/000000/policies/floor", title="made up", floor=True)
    floor.test_required.window.basis = policy_pb2.VALIDITY_BASIS_REPORT_TIME
    floor.test_required.shortest_window.calendar_days = 3
    floor.effective_start_time.seconds = 1_660_000_000
    return floor


def hash_of(policy: policy_pb2.Policy) -> str:
    """Return the content hash of a policy."""
    return revision_from_proto(bare_statement(policy), 1, 0).content_hash


@pytest.mark.parametrize(
    ("policy", "known"),
    [
        (make_policy(), "25bbd8495b1d04c4e26b353da06b0b8b653b5b3fc2aefe23c79b4e6e903b74c2"),
        (make_floor(), "88fb848e08b2138403aab97723e3c7588144bf2f4eb69fd6121064e98aebc11f"),
    ],
    ids=("policy", "floor"),
)
def test_policy_without_items_keeps_its_hash(policy: policy_pb2.Policy, known: str) -> None:
    """The hashes were computed before the contract had items, and are stored in databases."""
    assert hash_of(policy) == known


def test_default_item_has_one_hash_by_both_its_names() -> None:
    """The empty name and the full one are the same item, in each list; another item is another content."""
    hashes = []
    for default in ("", NUCLEIC_ACID):
        policy = make_policy()
        policy.test_required.accepted.add(item=default)
        policy.test_required.accepted.add(item=ANTIGEN).window.CopyFrom(policy.test_required.window)
        policy.test_required.adverse_items.extend([default, ANTIGEN])
        hashes.append(hash_of(policy))
    assert hashes[0] == hashes[1]
    policy.test_required.adverse_items[:] = [ANTIGEN, ""]
    assert hash_of(policy) not in hashes
    policy.test_required.ClearField("adverse_items")
    policy.test_required.ClearField("accepted")
    assert hash_of(policy) == hash_of(make_policy())


@given(st.integers(0, 10**9))
@settings(deadline=None, max_examples=40)
def test_requirement_is_the_same_after_a_message(seed: int) -> None:
    """The random policies and floors have requirements with and without items."""
    for revision in random_set(random.Random(seed), 8):
        again = revision_from_proto(bare_statement(revision_to_proto(revision)), revision.revision, 0)
        assert again.requirement == revision.requirement


def test_answer_names_the_item_of_each_replaced_window() -> None:
    """The names are full, also that of the default item. The policy's own window has no item."""
    asked = Requirement(
        Window(2, 72 * HOUR),
        accepted=(AcceptedItem("x"), AcceptedItem("", Window(2, 24 * HOUR)), AcceptedItem("y", Window(1, 72 * HOUR))),
        adverse_items=("", "y"),
        adverse_window=240 * HOUR,
    )
    floor = make_floor()
    floor.test_required.shortest_window.duration.seconds = 172_800
    book = PolicyBook([make_revision(requirement=asked), revision_from_proto(bare_statement(floor), 1, 0)])
    message = answer_to_proto(book.resolve_class("410105", 4, SAME_PROVINCE, 2_000_000_000_000_000))
    replaced = {(it.WhichOneof("replaced"), it.basis.item or it.window.item) for it in message.overrides}
    assert replaced == {("basis", ""), ("basis", NUCLEIC_ACID), ("window", NUCLEIC_ACID)}
    accepted = message.test_required.accepted
    assert [it.item for it in accepted] == ["items/x", "", "items/y"]
    assert [it.window.duration.seconds for it in accepted] == [0, 86_400, 259_200]
    assert [it.window.basis for it in accepted] == [0, 1, 1]
    assert message.test_required.window.basis == policy_pb2.VALIDITY_BASIS_REPORT_TIME
    assert list(message.test_required.adverse_items) == ["", "items/y"]
    assert message.test_required.adverse_window.seconds == 864_000
