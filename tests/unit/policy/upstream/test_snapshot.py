"""Tests which of the nation's changes a province takes: revisions that apply to it, in the form that was sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hutong.policy.v1 import policy_pb2
from hutong.type.v1.purpose_pb2 import PURPOSE_HOTEL, PURPOSE_PUBLIC_VENUE

from services.domain.instant import to_timestamp
from services.policy.convert import bare_statement, revision_from_proto, revision_to_proto
from services.policy.rules.resolve import PolicyBook
from services.policy.upstream.snapshot import SnapshotUpdate

NAME = "jurisdictions/000000/policies/hotel"


def told(name: str = NAME, *, title: str = "made up", number: int = 1, withdrawn: bool = False) -> policy_pb2.Policy:
    """Return a revision as a nation sends it."""
    bare = policy_pb2.Policy(name=name, title=title, origin=policy_pb2.TRAVELER_ORIGIN_ANY)
    bare.test_required.window.basis = policy_pb2.VALIDITY_BASIS_REPORT_TIME
    bare.test_required.window.duration.seconds = 172_800
    bare.effective_start_time.seconds = 1_660_000_000
    policy = revision_to_proto(revision_from_proto(bare_statement(bare), number, 1_650_000_000_000_000))
    if withdrawn:
        policy.withdraw_time.CopyFrom(to_timestamp(1_650_000_000_000_001))
        policy.withdraw_reason = "an error"
    return policy


def test_the_nations_own_revisions_come_in_order() -> None:
    """Revisions are stored as sent, with withdrawals. Policies of another province are dropped."""
    update = SnapshotUpdate("410000", is_whole=True)
    one, other = told(), told(number=2, withdrawn=True)
    for policy in (one, told("jurisdictions/370100/policies/hotel"), other):
        update.add(policy)
    assert [revision_to_proto(received.revision) for received in update.received] == [one, other]
    assert not update.left_out


def test_a_city_takes_the_revisions_of_all_jurisdictions_above_and_of_its_own_region() -> None:
    """The node above hands over what stood there when the city was founded. None of other provinces are taken."""
    update = SnapshotUpdate("410100", is_whole=True)
    sent = [
        told(f"jurisdictions/{region}/policies/hotel") for region in ("000000", "410000", "410100", "410102", "220000")
    ]
    for policy in sent:
        update.add(policy)
    assert [revision_to_proto(received.revision) for received in update.received] == sent[:4]


def test_order_and_emptiness_of_what_was_stated_are_no_difference() -> None:
    """A nation may have published purposes in any order, and a source without content; its answers have neither."""
    bare = told()
    bare.purposes.extend([PURPOSE_HOTEL, PURPOSE_PUBLIC_VENUE])
    bare.source.SetInParent()
    policy = revision_to_proto(revision_from_proto(bare_statement(bare), 1, 1_650_000_000_000_000))
    assert policy.purposes == sorted(policy.purposes)
    update = SnapshotUpdate("410000", is_whole=True)
    update.add(policy)
    assert not update.left_out


def _in_other_words(policy: policy_pb2.Policy) -> None:
    policy.title = "another"


def _with_a_purpose_of_a_later_version(policy: policy_pb2.Policy) -> None:
    policy.purposes[:] = [99]  # type: ignore[list-item]
    policy.content_hash = revision_from_proto(bare_statement(policy), 1, 0).content_hash


def _under_another_number(policy: policy_pb2.Policy) -> None:
    policy.revision = 2


def _never_published(policy: policy_pb2.Policy) -> None:
    policy.ClearField("publish_time")


def _withdrawn_without_reason(policy: policy_pb2.Policy) -> None:
    policy.withdraw_time.CopyFrom(to_timestamp(1))


def _with_a_reason_too_long_to_keep(policy: policy_pb2.Policy) -> None:
    policy.retroactive_reason = "x" * 501


def _at_no_instant(policy: policy_pb2.Policy) -> None:
    policy.effective_end_time.nanos = -5


def _published_after_all_time(policy: policy_pb2.Policy) -> None:
    policy.publish_time.seconds = 253_402_300_800


def _withdrawn_before_all_time(policy: policy_pb2.Policy) -> None:
    policy.withdraw_time.seconds, policy.withdraw_reason = -(2**62), "an error"


def _published_by_no_node(policy: policy_pb2.Policy) -> None:
    policy.node = "nodes/41"


def _in_a_region_that_is_none(policy: policy_pb2.Policy) -> None:
    policy.name = policy.name.replace("000000", "419999")


def _without_a_name(policy: policy_pb2.Policy) -> None:
    policy.name = "jurisdictions/000000"


@pytest.mark.parametrize(
    "spoil",
    [
        _in_other_words,
        _with_a_purpose_of_a_later_version,
        _under_another_number,
        _never_published,
        _withdrawn_without_reason,
        _with_a_reason_too_long_to_keep,
        _at_no_instant,
        _without_a_name,
        _published_after_all_time,
        _withdrawn_before_all_time,
        _published_by_no_node,
        _in_a_region_that_is_none,
    ],
)
def test_what_cannot_be_understood_is_left_out_and_named(spoil: Callable[[policy_pb2.Policy], None]) -> None:
    """Never taken in part; what comes after it is."""
    update = SnapshotUpdate("410000", is_whole=False)
    spoilt = told()
    spoil(spoilt)
    update.add(spoilt)
    update.add(told(number=3))
    assert update.left_out == [spoilt.name]
    assert [received.revision.revision for received in update.received] == [3]


def test_what_the_nation_lost_is_missing() -> None:
    """Known revisions of the nation that the snapshot lacks are reported. The province's own are not examined."""
    update = SnapshotUpdate("410000", is_whole=True)
    update.add(told())
    spoilt = told(number=2)
    _in_other_words(spoilt)
    update.add(spoilt)
    names = [(NAME, 1), (NAME, 2), (NAME, 3), ("jurisdictions/410000/policies/hotel", 1)]
    bare = [(policy_pb2.Policy(name=name, title="t"), number) for name, number in names]
    book = PolicyBook(revision_from_proto(bare_statement(policy), number, 0) for policy, number in bare)
    assert update.missing(book) == [f"{NAME}@3"]
