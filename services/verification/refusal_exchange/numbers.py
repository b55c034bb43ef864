"""Numbers of the frames of a link, by which two nodes notice that one of them was restored.

A node numbers its frames with content. It stores the number of a frame before it sends the frame, and again when the
other node has acknowledged the frame. The receiver stores the number together with the content. A node that was
restored from an older copy has smaller numbers than it had.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

from hutong.exchange.v1.refusal_exchange_service_pb2 import RefusalExchangeStart

_RANDOM_BITS = 50
_MOST = 1 << 61


class FrameNumbers(NamedTuple):
    """The numbers that one node has stored about a link.

    Attributes:
        acknowledged: the number of the last own frame that the other node has acknowledged.
        received: the number of the last frame of the other node that is stored.
        sent: the number of the last own frame that may have been sent. It may be less than `acknowledged`.
    """

    acknowledged: int = 0
    received: int = 0
    sent: int = 0

    @property
    def greatest_sent(self) -> int:
        """The greatest number of a frame that the other node may have stored."""
        return max(self.sent, self.acknowledged)

    def fits(self, other: FrameNumbers) -> bool:
        """Return whether the numbers of two nodes fit together. If they do not, one of the nodes was restored."""
        return (
            self.acknowledged <= other.received <= self.greatest_sent
            and other.acknowledged <= self.received <= other.greatest_sent
        )

    def aligned(self, other: FrameNumbers) -> FrameNumbers:
        """Return the numbers after the other node has said what it has received and what was acknowledged to it."""
        acknowledged = max(self.acknowledged, other.received)
        return FrameNumbers(acknowledged, max(self.received, other.acknowledged), max(self.sent, acknowledged))

    def taken_over(self) -> FrameNumbers:
        """Return the numbers of the node below, given those with which the node above begins anew."""
        return FrameNumbers(self.received, self.acknowledged, self.received)


def begin_anew(own: FrameNumbers, stated: FrameNumbers) -> FrameNumbers:
    """Return numbers that no copy of the two nodes has, for a link on which everything is sent again.

    They are greater than the numbers of both nodes, because a node of the release before keeps the greater ones. A
    number that only a lie can have reached does not count.
    """
    greatest = max(one if one < _MOST else 0 for one in (*own, *stated))
    number = greatest + 1 + secrets.randbits(_RANDOM_BITS)
    return FrameNumbers(number, number, number)


def numbers_of(start: RefusalExchangeStart) -> FrameNumbers:
    """Return the numbers of a first frame. A node of the release before does not say what it has sent."""
    sent = start.sent_number if start.HasField("sent_number") else start.acknowledged_number + 1
    return FrameNumbers(start.acknowledged_number, start.received_number, sent)
