"""Decides what stands if two nodes know a revision differently. Pure functions.

A node and the node above it exchange the policies of the lower node's region (docs/policy.md §9). Both apply these
rules. Once everything has been exchanged, they therefore have the same revisions, whatever the order and however often
they were sent.
"""

from __future__ import annotations

from dataclasses import replace

from services.domain.instant import Instant
from services.domain.region import within
from services.policy.model import Revision


def is_floor_of_outside(revision: Revision, region: str) -> bool:
    """Return whether a revision is a floor and a node outside a region has published it."""
    return revision.floor and revision.node is not None and not within(revision.node, region)


def merge_from_above(known: Revision | None, sent: Revision, own: str) -> Revision | None:
    """Return what stands after the node above has sent a revision. None: the known revision stands unchanged.

    `own` is the region of this node.

    A revision of a jurisdiction above is never replaced, and its first withdrawal stands. The same holds for a floor
    that a node above has published for this node's region. Such a floor also replaces any other revision of the same
    name.

    All other revisions of this node's region are its own. If this node has such a revision, it keeps it. If not, it
    takes the sent one, for example because it was just founded or was restored from an older copy.
    """
    if known is None:
        return sent
    is_new_floor = is_floor_of_outside(sent, own) and not is_floor_of_outside(known, own)
    if within(sent.region, own) and is_new_floor:
        return sent
    if known.content_hash != sent.content_hash:
        return None
    if within(sent.region, own) and not is_floor_of_outside(sent, own):
        return _unite(known, sent)
    if known.withdraw_time is None:
        return _with_withdrawal(known, sent)
    return known if sent.withdraw_time is not None else None


def merge_from_below(known: Revision | None, sent: Revision, sender: str) -> Revision | None:
    """Return what stands after a node below has sent a revision. None: the sender may not state the revision.

    `sender` is the region of that node. The sender may state every revision of its region. A floor that a node outside
    the region has published is an exception: the sender can only repeat it.
    """
    if not within(sent.region, sender):
        return None
    if known is not None and is_floor_of_outside(known, sender):
        is_repeated = known.content_hash == sent.content_hash
        is_withdrawn_here = sent.withdraw_time is None or known.withdraw_time is not None
        return known if is_repeated and is_withdrawn_here else None
    if is_floor_of_outside(sent, sender):
        return None
    if known is None or known.content_hash != sent.content_hash:
        return sent
    return _unite(known, sent)


def _unite(known: Revision, sent: Revision) -> Revision:
    """Return one revision from two with the same content. It has the earlier publication and the earlier withdrawal."""
    first, other = (sent, known) if _publication(sent) < _publication(known) else (known, sent)
    united = replace(first, actor=known.actor, node=first.node or other.node)
    # Of two equal withdrawals the known one is taken, because only the known one names its caller.
    withdrawn = [one for one in (known, sent) if one.withdraw_time is not None]
    return _with_withdrawal(united, min(withdrawn, key=_withdrawal)) if withdrawn else united


def _with_withdrawal(revision: Revision, other: Revision) -> Revision:
    return replace(
        revision,
        withdraw_time=other.withdraw_time,
        withdraw_reason=other.withdraw_reason,
        withdraw_actor=other.withdraw_actor,
    )


def _publication(revision: Revision) -> tuple[Instant, str, str]:
    return revision.publish_time, revision.retroactive_reason, revision.node or ""


def _withdrawal(revision: Revision) -> tuple[Instant, str]:
    return revision.withdraw_time or 0, revision.withdraw_reason
