"""For which places the policies of a node are enough to state what applies."""

from __future__ import annotations

import grpc
import pytest
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyItem

from services.runtime.clock import FixedClock
from services.verification.sources.convert import policy_answer_from_proto
from services.verification.sources.model import PolicyAnswer
from services.verification.sources.policy_client import PolicyClient


def _known(lifting_floor: str = "") -> PolicyAnswer:
    item = ResolvePolicyItem()
    item.effective_policy.not_required.SetInParent()
    item.effective_policy.lifting_floor = lifting_floor
    known = policy_answer_from_proto(item, 0, 0.0, 0)
    assert known is not None
    return known


@pytest.mark.parametrize(
    ("node", "known", "unknown"),
    [
        ("000000", ("000000", "330000", "330106"), ()),
        ("410000", ("000000", "410000", "410100", "410105"), ("330000", "330106", "420000")),
        ("410100", ("000000", "410000", "410100", "410105"), ("410200", "410202", "330106")),
    ],
)
async def test_policies_are_known_of_a_nodes_region_and_of_what_is_above(
    node: str, known: tuple[str, ...], unknown: tuple[str, ...]
) -> None:
    """A node gets no policies of other places. For such a place, only an answer with a floor that lifts is complete."""
    client = PolicyClient(lambda: grpc.aio.insecure_channel("127.0.0.1:1"), node, FixedClock(0))
    assert all(client.is_complete(_known(), place) for place in known)
    assert not any(client.is_complete(_known(), place) for place in unknown)
    lifted = _known("jurisdictions/000000/policies/opening@1")
    assert all(client.is_complete(lifted, place) for place in (*known, *unknown))
    await client.close()
