"""Removal of a link at a node that did not make it (docs/exchange.md §7).

Only the node that made a link can end it. That node also ends the link if the nation passes on a request of another
node. The nation passes on such a request only if the asking node has results of either document. A false request
therefore does no more harm than false results, which a node can state of any person under its own laboratories.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from sqlalchemy import Connection, delete, func, or_, select, update

from services.domain.instant import DAY, Instant, Span
from services.domain.region import within
from services.results.documents.model import DocumentLink
from services.results.documents.store import find_links, find_sources
from services.results.documents.tables import document_links, link_end_requests
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit, share_until_commit
from services.storage.columns import in_region
from services.storage.upsert import insert_if_absent

_links = document_links
_held = link_end_requests

MAX_HELD = 1_000
"""The most requests that are held of one node. The limit is needed because a node can make up links. It holds for each
node by itself, so that such a node takes no room from others."""
HELD_FOR: Span = 30 * DAY
"""How long a request is held. A link that has not arrived by then is not expected any more."""


class Request(Enum):
    """The outcome of a request to end a link."""

    TAKEN = auto()
    HELD = auto()
    """The link is not stored here. The request is held until the link arrives."""
    REFUSED = auto()


def request_end(connection: Connection, link: DocumentLink, node: str, now: Instant) -> Request:
    """Record that `node`, a node below, asks for the end of a link. Return the outcome.

    `node` may ask if results of either document came from `node` or from a node below it. If the link has ended
    already, nothing changes. A link that this node made ends at once.

    After a restore of this node, a request may arrive before its link, because the nodes that send the two do not wait
    for each other.
    """
    stored = find_stored(connection, link)
    if stored is None and _may_hold(connection, link, node, now):
        # A transaction that is storing the link would not see the request. It holds this lock until it ends.
        lock_until_commit(connection, AdvisoryLock.LINK_ENDS)
        stored = find_stored(connection, link)
        if stored is None:
            _hold(connection, link, node, now)
            return Request.HELD
    if stored is None:
        return Request.REFUSED
    if stored.unlink_time is not None:
        return Request.TAKEN
    # The documents of the stored link count, because a request may state other documents.
    if not _has_results(connection, stored, node):
        return Request.REFUSED
    values: dict[str, object] = {"unlink_node": node}
    if not link.source_node:
        values["unlink_time"] = now
    connection.execute(update(_links).where(_links.c.link_id == link.link_id).values(values))
    return Request.TAKEN


def take_held(connection: Connection, link: DocumentLink, now: Instant) -> bool:
    """Remove the requests that were held for a link. Return whether the link must end.

    Call it once the link is stored.
    """
    share_until_commit(connection, AdvisoryLock.LINK_ENDS)
    held = select(_held.c.node, _held.c.source_node).where(_held.c.link_id == link.link_id).order_by(_held.c.node)
    requests = connection.execute(held).all()
    if not requests:
        return False
    connection.execute(delete(_held).where(_held.c.link_id == link.link_id))
    if link.unlink_time is not None:
        return False
    nodes = [node for node, source_node in requests if source_node == link.source_node]
    return any(request_end(connection, link, node, now) is Request.TAKEN for node in nodes)


def _has_results(connection: Connection, link: DocumentLink, node: str) -> bool:
    """Return whether results of either document of a link came from a node or from a node below it."""
    sources = find_sources(connection, {*link.document.keys, *link.linked_document.keys})
    return any(within(source, node) for nodes in sources.values() for source in nodes)


def _may_hold(connection: Connection, link: DocumentLink, node: str, now: Instant) -> bool:
    """Return whether a request of a node may be held. Old requests are removed first."""
    connection.execute(delete(_held).where(_held.c.receive_time < now - HELD_FOR))
    of_node = select(func.count()).select_from(_held).where(_held.c.node == node)
    if connection.execute(of_node).scalar_one() >= MAX_HELD:
        return False
    return not find_links(connection, [link.link_id]) and _has_results(connection, link, node)


def _hold(connection: Connection, link: DocumentLink, node: str, now: Instant) -> None:
    """Hold a request until its link arrives."""
    values = {"link_id": link.link_id, "source_node": link.source_node, "node": node, "receive_time": now}
    connection.execute(insert_if_absent(connection, _held).values(values))


def end_own(connection: Connection, link: DocumentLink, now: Instant) -> bool:
    """End a link of this node as the nation asks. Return whether the link was active here.

    If `link` has an unlink time, the nation has recorded that time already, and the link ends with the same time.
    """
    ended = {"unlink_time": now if link.unlink_time is None else link.unlink_time, "unlink_node": link.unlink_node}
    mine = (_links.c.link_id == link.link_id, _links.c.source_node == "", _links.c.unlink_time.is_(None))
    return connection.execute(update(_links).where(*mine).values(ended)).rowcount == 1


def find_ended(connection: Connection, maker: str) -> Sequence[str]:
    """Return the ids of all ended links that the node `maker` or a node below it made.

    Active links that another node asks to end are included.
    """
    query = select(_links.c.link_id).where(
        in_region(_links.c.source_node, maker),
        or_(_links.c.unlink_time.is_not(None), _links.c.unlink_node.is_not(None)),
    )
    return connection.execute(query.order_by(_links.c.link_id)).scalars().all()


def find_stored(connection: Connection, link: DocumentLink) -> DocumentLink | None:
    """Return the stored link with the id and the maker of `link`; None if there is no such link."""
    found = find_links(connection, [link.link_id])
    return found[0] if found and found[0].source_node == link.source_node else None
