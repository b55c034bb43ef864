"""The figures of a node as a message to the node above."""

from __future__ import annotations

import pytest

from services.domain.instant import DAY
from services.results.exchange.convert.figures import LARGEST_SKEW, figures_from_proto, figures_to_proto
from services.results.exchange.model import NodeFigures
from services.runtime.server.validation import check

YEAR = 365 * DAY


@pytest.mark.parametrize("skew", [0, -3 * DAY, 7_000 * YEAR, -7_000 * YEAR])
def test_no_clock_skew_of_a_node_makes_the_message_invalid(skew: int) -> None:
    """A node below may state any time. The node above accepts the figures of the honest node between them."""
    message = figures_to_proto(NodeFigures(skew, 2, 3, 4))
    check(message)
    stated = max(-LARGEST_SKEW, min(skew, LARGEST_SKEW))
    assert figures_from_proto(message) == NodeFigures(stated, 2, 3, 4)
