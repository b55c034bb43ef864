"""By the numbers of frames two nodes notice that one of them was restored."""

from __future__ import annotations

import pytest
from hutong.exchange.v1.refusal_exchange_service_pb2 import RefusalExchangeStart
from hypothesis import given
from hypothesis import strategies as st

from services.verification.refusal_exchange.numbers import FrameNumbers, begin_anew, numbers_of

NUMBERS = st.builds(FrameNumbers, *[st.integers(0, 9)] * 3)


@pytest.mark.parametrize(
    ("one", "other", "fits"),
    [
        (FrameNumbers(), FrameNumbers(), True),
        (FrameNumbers(5, 3, 6), FrameNumbers(3, 5, 3), True),
        (FrameNumbers(5, 3, 6), FrameNumbers(3, 6, 3), True),
        (FrameNumbers(5, 3, 5), FrameNumbers(3, 6, 3), False),
        (FrameNumbers(5, 3, 6), FrameNumbers(3, 4, 3), False),
        (FrameNumbers(5, 3, 6), FrameNumbers(3, 7, 3), False),
        (FrameNumbers(5, 3, 5), FrameNumbers(4, 5, 4), False),
    ],
)
def test_numbers_fit_if_nothing_is_lost(one: FrameNumbers, other: FrameNumbers, *, fits: bool) -> None:
    """The receiver may have one frame whose acknowledgement was lost. Both nodes come to the same conclusion."""
    assert one.fits(other) is other.fits(one) is fits


@given(NUMBERS, NUMBERS)
def test_nodes_that_begin_anew_fit_each_other_and_no_older_copy(above: FrameNumbers, below: FrameNumbers) -> None:
    """The node above takes new numbers, and the node below takes them over, of whichever release it is."""
    new = begin_anew(above, below)
    taken = new.taken_over()
    assert new.fits(taken)
    assert below.aligned(new) == taken
    assert not new.fits(below)
    assert not above.fits(taken)


def test_a_lie_does_not_exhaust_the_numbers() -> None:
    """A node that has stated the greatest number of all can exchange reports again once it tells the truth."""
    number = begin_anew(FrameNumbers(3, 2**63 - 1, 3), FrameNumbers(2**63 - 1, 0, 0)).sent
    assert 3 < number < 2**52


def test_a_node_of_the_release_before_may_have_sent_one_more_frame() -> None:
    start = RefusalExchangeStart(acknowledged_number=4)
    assert numbers_of(start) == FrameNumbers(4, 0, 5)
    start.sent_number = 4
    assert numbers_of(start).greatest_sent == 4
