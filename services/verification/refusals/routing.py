"""Route of a report in the tree of nodes, the node that answers it, and the time when the answer is due. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from services.domain.instant import DAY, Instant, Span
from services.domain.region import ancestry, within

ANSWER_WITHIN: Span = 5 * DAY
"""How long a node has to answer a report that it has received or taken over. Afterwards the answer is overdue."""
ASSESS_WITHIN: Span = DAY
"""How long the deepest node that has a report waits until the node of the place assesses the refusal. Afterwards the
deepest node assesses the refusal itself."""


class Links(NamedTuple):
    """The nodes with which a node exchanges reports.

    Attributes:
        own: the region of this node.
        above: the region of the node above; empty if none has answered yet.
        below: the regions of the nodes below that have called.
        has_upstream: whether this node has a node above, even if none has answered yet.
    """

    own: str
    above: str = ""
    below: Collection[str] = ()
    has_upstream: bool = False

    def covers(self, region: str) -> bool:
        """Return whether this node answers for a place.

        This node does if the place lies in its region, or if there is no node above.
        """
        return within(region, self.own) or not self.has_upstream

    def child_towards(self, region: str) -> str:
        """Return the node below that is on the way to a region; empty for none.

        If a node was founded between this node and a node below, the founded node is returned.
        """
        return next((code for code in reversed(ancestry(region)) if code in self.below and code != self.own), "")

    def is_place_of(self, region: str) -> bool:
        """Return whether this node is the node of a place, or the nearest node above the place."""
        return self.covers(region) and not self.child_towards(region)

    def concerned(self, region: str, origin: str) -> set[str]:
        """Return the other nodes that get a report.

        They are the node above, and the nodes below towards the report's place and towards its origin.
        """
        return {self.above, self.child_towards(region), self.child_towards(origin)} - {""}


class Responsibility(NamedTuple):
    """Which node answers a report.

    Attributes:
        node: the region of the node; empty if no node of the place's region has the report yet.
        due_time: when the answer is due.
        escalation_count: how often a node above has taken the report over.
    """

    node: str
    due_time: Instant
    escalation_count: int = 0

    @property
    def rank(self) -> tuple[int, int]:
        """The rank of this responsibility.

        Of several responsibilities, the responsibility with the greatest rank holds.

        A later escalation has the greater rank. Before the first escalation the deeper node has the greater rank, and
        afterwards the higher node.
        """
        depth = len(ancestry(self.node)) if self.node else 0
        return self.escalation_count, -depth if self.escalation_count else depth


def may_answer(links: Links, region: str, responsible: str) -> bool:
    """Return whether a node may answer a report.

    The responsible node and the nodes between the responsible node and the place may answer it.
    """
    return links.covers(region) and (not responsible or within(links.own, responsible))


def take_over(links: Links, region: str, current: Responsibility, now: Instant) -> Responsibility | None:
    """Return the new responsibility if this node takes an unanswered report over now; else None.

    The node above the responsible node takes the report over when the answer is overdue. A node further above waits
    ANSWER_WITHIN longer. It then takes the report over, because the nodes between may be unavailable.
    """
    if current.node == links.own or not current.node or not within(region, links.own):
        return None
    if not within(current.node, links.own):
        return None
    is_child = current.node == links.child_towards(region)
    if now <= current.due_time + (0 if is_child else ANSWER_WITHIN):
        return None
    return Responsibility(links.own, now + ANSWER_WITHIN, current.escalation_count + 1)
