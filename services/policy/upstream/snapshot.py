"""Validates the revisions that the node above sends between two checkpoints. They are stored afterwards."""

from __future__ import annotations

from hutong.policy.v1 import policy_pb2

from services.domain.errors import HutongError
from services.domain.names import parse_policy
from services.domain.region import ancestry, within
from services.policy.received import ReceivedRevision, read_received
from services.policy.rules.resolve import PolicyBook


class SnapshotUpdate:
    """The revisions received since the last checkpoint.

    Attributes:
        is_whole: whether the watch began without a cursor. The update then holds everything that the node above has.
        received: revisions of the jurisdictions above this node and of this node's own region, in order. Revisions of
            other jurisdictions are dropped.
        left_out: the names of revisions that are not valid here. A newer node may send what this release does not know.
    """

    def __init__(self, jurisdiction: str, *, is_whole: bool) -> None:
        self._own = jurisdiction
        self._above = frozenset(ancestry(jurisdiction)[1:])
        self.is_whole = is_whole
        self.received: list[ReceivedRevision] = []
        self.left_out: list[str] = []

    def add(self, policy: policy_pb2.Policy) -> None:
        """Add one revision."""
        try:
            region = parse_policy(policy.name)[0]
            if region in self._above or within(region, self._own):
                self.received.append(read_received(policy))
        except (HutongError, ValueError):
            self.left_out.append(policy.name)

    def missing(self, book: PolicyBook) -> list[str]:
        """Return the names of those revisions of jurisdictions above that `book` has and this whole update lacks.

        The node above has lost them, for example by a restore. They stay in force here.
        """
        named = {one.revision.name for one in self.received} | set(self.left_out)
        known = (
            one.name
            for region in sorted(self._above)
            for policy_id in book.series_of(region)
            for one in book.series(region, policy_id)
        )
        return [name for name in known if name not in named]
