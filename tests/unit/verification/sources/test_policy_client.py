"""Which places' policies a node knows."""

from __future__ import annotations

import grpc
import pytest

from services.runtime.clock import FixedClock
from services.verification.sources.policy_client import PolicyClient


@pytest.mark.parametrize(
    ("node", "known", "unknown"),
    [
        ("000000", ("000000", "330000", "330106"), ()),
        ("410000", ("000000", "410000", "410100", "410105"), ("330000", "330106", "420000")),
        ("410100", ("000000", "410000", "410100", "410105"), ("410200", "410202", "330106")),
    ],
)
async def test_node_knows_its_region_and_what_is_above(
    node: str, known: tuple[str, ...], unknown: tuple[str, ...]
) -> None:
    """A node knows the policies of its region and of every region above. Those of other places are not sent to it."""
    client = PolicyClient(lambda: grpc.aio.insecure_channel("127.0.0.1:1"), node, FixedClock(0))
    assert all(map(client.knows, known))
    assert not any(map(client.knows, unknown))
    await client.close()
