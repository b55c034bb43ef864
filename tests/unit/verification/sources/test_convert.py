"""How Policy's answers are read."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyItem

from services.domain.instant import SECOND
from services.verification.decision.model import AcceptedItem, Window
from services.verification.sources.convert import policy_answer_from_proto, policy_from_proto

ANTIGEN = "items/sars-cov-2-antigen"


def _policy() -> policy_pb2.EffectivePolicy:
    policy = policy_pb2.EffectivePolicy(governing="jurisdictions/410100/policies/venue@1", forbidden_grounds=[1, 2])
    policy.test_required.window.duration.CopyFrom(Duration(seconds=48 * 3600))
    policy.test_required.window.basis = policy_pb2.VALIDITY_BASIS_REPORT_TIME
    return policy


def test_a_window_without_a_length_is_no_rule() -> None:
    """A floor alone leaves the hours to the place: nothing governs, and no refusal is permitted."""
    policy = _policy()
    policy.test_required.window.ClearField("duration")
    assert policy_from_proto(policy).governing == ""
    assert policy_from_proto(policy).required is None


def test_a_lift_is_read_where_nothing_governs() -> None:
    """A lift is not the same as no policy: no result is asked for, and the floor and its document are named."""
    policy = policy_pb2.EffectivePolicy(floor="a", lifting_floor="b")
    policy.not_required.SetInParent()
    policy.floor_source.title, policy.lifting_source.title = "of a", "of b"
    read = policy_from_proto(policy)
    assert read.asks_nothing
    assert (read.governing, read.floor, read.floor_document.title) == ("", "b", "of b")


def test_shortest_windows_are_read() -> None:
    """Each with its boundary; one of an unknown kind is left out."""
    policy = _policy()
    policy.shortest_windows.add(floor="a").shortest_window.calendar_days = 3
    policy.shortest_windows.add(floor="b").shortest_window.duration.seconds = 72 * 3600
    policy.shortest_windows[1].shortest_window.includes_boundary = True
    policy.shortest_windows.add(floor="c")
    required = policy_from_proto(policy).required
    assert required is not None
    assert required.shortest_windows == ((None, 3, False), (72 * 3600 * SECOND, None, True))


def test_spans_keep_their_fractions() -> None:
    """Durations come over to the microsecond."""
    policy = _policy()
    policy.test_required.sampling_proof_window.CopyFrom(Duration(seconds=1, nanos=500_000_000))
    required = policy_from_proto(policy).required
    assert required is not None
    assert required.sampling_proof_window == 3 * SECOND // 2


def test_answer_stored_with_overrides_as_text_is_read_as_any_other() -> None:
    """Decisions of before hold names of enum values there: they can be made again, and their bytes are kept."""
    answer = policy_pb2.EffectivePolicy(governing="jurisdictions/110000/policies/venue@1")
    answer.not_required.SetInParent()
    floor = "jurisdictions/000000/policies/notice@1"
    texts = {1: "channels", 2: "CHANNEL_MOBILE_APP", 3: "CHANNEL_MOBILE_APP,CHANNEL_PAPER_REPORT", 4: floor}
    former = b"".join(bytes([number << 3 | 2, len(text)]) + text.encode() for number, text in texts.items())
    stored = answer.SerializeToString() + bytes([9 << 3 | 2, len(former)]) + former
    read = policy_pb2.EffectivePolicy.FromString(stored)
    assert policy_from_proto(read) == policy_from_proto(answer)
    assert [(it.floor, it.WhichOneof("replaced")) for it in read.overrides] == [(floor, None)]
    assert len(read.SerializeToString()) == len(stored)


def test_items_are_read() -> None:
    """Each accepted item with its own window or none; the default item by either of its names."""
    policy = _policy()
    policy.test_required.accepted.add(item="items/sars-cov-2-nucleic-acid")
    own = policy.test_required.accepted.add(item=ANTIGEN).window
    own.calendar_days, own.basis = 1, policy_pb2.VALIDITY_BASIS_SAMPLE_TIME
    policy.test_required.adverse_items.extend(["", "items/sars-cov-2-antigen"])
    policy.test_required.adverse_window.seconds = 10
    required = policy_from_proto(policy).required
    assert required is not None
    antigen = AcceptedItem("sars-cov-2-antigen", Window(None, 1, policy_pb2.VALIDITY_BASIS_SAMPLE_TIME, False))
    assert required.accepted == (AcceptedItem(""), antigen)
    assert required.adverse_items == ("", "sars-cov-2-antigen")
    assert required.adverse_window == 10 * SECOND


def test_an_accepted_item_with_a_window_of_an_unknown_kind_is_no_rule() -> None:
    policy = _policy()
    policy.test_required.accepted.add(item=ANTIGEN).window.SetInParent()
    assert policy_from_proto(policy).required is None


def test_items_of_both_classes_are_looked_up() -> None:
    """No items are named if all policies weigh the default item alone."""
    item = ResolvePolicyItem(effective_policy=_policy())

    def items() -> tuple[str, ...]:
        answer = policy_answer_from_proto(item, 0, 0.0, 0)
        assert answer is not None
        return answer.items

    assert items() == ()
    item.effective_policy.test_required.accepted.add()
    assert items() == ()
    item.by_origin.same_province.CopyFrom(_policy())
    item.by_origin.other_province.CopyFrom(_policy())
    item.by_origin.other_province.test_required.accepted.add(item=ANTIGEN)
    item.by_origin.other_province.test_required.adverse_items.append("items/hepatitis-b")
    assert items() == ("items/sars-cov-2-nucleic-acid", "items/hepatitis-b", ANTIGEN)
    item.by_origin.same_province.test_required.accepted.add(item=ANTIGEN)
    assert items() == ("items/hepatitis-b", ANTIGEN)
