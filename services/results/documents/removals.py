"""Removal of a link at a node that did not make it (docs/exchange.md §7).

Only the node that made a link can end it. That node also ends the link if the nation passes on a request of another
node. The nation passes on such a request only if the asking node has results of either document. A false request
therefore does no more harm than false results, which a node can state of any person under its own laboratories.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, or_, select, update

from services.domain.instant import Instant
from services.domain.region import within
from services.results.documents.model import DocumentLink
from services.results.documents.store import find_links, find_sources
from services.results.documents.tables import document_links
from services.storage.columns import in_region

_links = document_links


def request_end(connection: Connection, link: DocumentLink, node: str, now: Instant) -> bool:
    """Record that `node`, a node below, asks for the end of a link. Return whether `node` may ask.

    `node` may ask if results of either document came from `node` or from a node below it. If the link has ended
    already, nothing changes. A link that this node made ends at once.
    """
    stored = find_stored(connection, link)
    if stored is None:
        return False
    if stored.unlink_time is not None:
        return True
    # The documents of the stored link count, because a request may state other documents.
    sources = find_sources(connection, {*stored.document.keys, *stored.linked_document.keys})
    if not any(within(source, node) for nodes in sources.values() for source in nodes):
        return False
    values: dict[str, object] = {"unlink_node": node}
    if not link.source_node:
        values["unlink_time"] = now
    connection.execute(update(_links).where(_links.c.link_id == link.link_id).values(values))
    return True


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
