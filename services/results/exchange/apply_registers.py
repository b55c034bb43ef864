"""Apply changes of another node's registers: laboratories with the history of their standing, and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import NamedTuple

from sqlalchemy import Connection, func, insert, or_, select, update

from services.domain.instant import Instant
from services.domain.region import within
from services.results.documents.key_pairs import pairs_of, record_pairs
from services.results.documents.model import DocumentLink
from services.results.documents.removals import Request, end_own, find_stored, request_end, take_held
from services.results.documents.rows import link_values
from services.results.documents.store import find_sources
from services.results.documents.tables import document_links
from services.results.exchange import tables
from services.results.exchange.arrival import Arrival
from services.results.exchange.homes.register import store_homes
from services.results.exchange.model import Change
from services.results.labs.model import Lab, StandingChange
from services.results.labs.queries import lab_values
from services.results.labs.signing_keys import receive_signing_keys
from services.results.labs.tables import lab_standings, labs
from services.results.timeliness.totals import move_lab
from services.storage.advisory_locks import AdvisoryLock, share_until_commit
from services.storage.upsert import insert_if_absent

_labs = labs
_standings = lab_standings
_homes = tables.lab_homes
_links = document_links


_LINKS_AT_ONCE = 500
"""How many links one statement looks for."""


class LinkEffect(Enum):
    """The outcome of receiving a link."""

    STORED = auto()
    SET_ASIDE = auto()
    """Another node made the link, and the sender may not request its end. Nothing is stored."""
    HELD = auto()
    """The sender requests the end of a link that has not arrived yet."""
    ENDED = auto()
    """A link of this node has ended, because it was removed at another node."""
    TO_RETURN = auto()
    """The link has ended here or its end was requested, but the node that made the link sends it as active. This node
    returns the link."""
    TO_PASS_UP = auto()
    """The link has come from the node above. A node below has requested its end before. This node passes the request
    on."""


_EFFECTS = {
    Request.TAKEN: LinkEffect.STORED,
    Request.HELD: LinkEffect.HELD,
    Request.REFUSED: LinkEffect.SET_ASIDE,
}


class ReceivedLab(NamedTuple):
    """What the storing of a received laboratory has changed.

    Attributes:
        is_second: whether the registration is a new conflict, because another node has registered the laboratory and no
            home is known. The entries of neither node count then.
        is_changed: whether the registration, an entry or the registered name is new, so that other nodes may have to
            know of it.
    """

    is_second: bool
    is_changed: bool


def receive_lab(connection: Connection, lab: Lab, arrival: Arrival) -> ReceivedLab:
    """Store a laboratory as a node below sends it.

    Add the entries of its history that the node sends for the first time.
    """
    sender = arrival.sender
    share_until_commit(connection, AdvisoryLock.HOMES)
    stated = {**lab_values(lab), "source_node": sender}
    connection.execute(insert_if_absent(connection, _labs).values(**stated))
    # The row is locked so that the entries of two nodes get different numbers.
    connection.execute(select(_labs.c.uscc).where(_labs.c.uscc == lab.uscc).with_for_update())
    is_new = connection.execute(insert_if_absent(connection, _homes).values(uscc=lab.uscc, node=sender)).rowcount == 1
    is_added = _add_standings(connection, lab, sender)
    receive_signing_keys(connection, lab.uscc, lab.signing_keys, sender)
    store_homes(connection, [lab.uscc], arrival.node)
    # The statement of the home replaces the statement of another node. A registration by this node itself stays.
    at_home = (_labs.c.uscc == lab.uscc, _labs.c.home == sender, _labs.c.source_node.not_in(("", sender)))
    if connection.execute(select(_labs.c.uscc).where(*at_home)).first() is not None:
        move_lab(connection, lab.uscc, lab.region)
        connection.execute(update(_labs).where(*at_home).values(**stated))
    is_updated = _update_stated(connection, lab, sender)
    home = connection.execute(select(_labs.c.home).where(_labs.c.uscc == lab.uscc)).scalar()
    return ReceivedLab(is_new and home == "", is_new or is_added or is_updated)


def _update_stated(connection: Connection, lab: Lab, sender: str) -> bool:
    """Store what the node from which the registration came states of it now.

    Return whether anything has changed that nodes elsewhere know.
    """
    of_sender = (_labs.c.uscc == lab.uscc, _labs.c.source_node == sender)
    if lab.contact is not None:
        changed = update(_labs).where(*of_sender, _labs.c.contact != lab.contact)
        connection.execute(changed.values(contact=lab.contact))
    renamed = update(_labs).where(*of_sender, _labs.c.display_name != lab.display_name)
    values = {name: value for name, value in lab_values(lab).items() if name in ("display_name", "normal_name")}
    return connection.execute(renamed.values(values)).rowcount > 0


def _add_standings(connection: Connection, lab: Lab, sender: str) -> bool:
    """Add the entries that the node sends for the first time. Return whether there are any."""
    of_lab = _standings.c.uscc == lab.uscc
    columns = [_standings.c[name] for name in ("standing", "effective_time", "reason", "record_time")]
    query = select(*columns).where(of_lab, _standings.c.source_node.in_(("", sender)))
    known = {StandingChange(*row) for row in connection.execute(query)}
    unknown = [change for change in lab.changes if change not in known]
    if unknown:
        newest = connection.execute(select(func.max(_standings.c.entry)).where(of_lab)).scalar() or 0
        connection.execute(
            insert(_standings),
            [
                {
                    "uscc": lab.uscc,
                    "entry": newest + index,
                    "standing": change.standing,
                    "effective_time": change.effective_time,
                    "reason": change.reason,
                    "record_time": change.record_time,
                    "source_node": sender,
                }
                for index, change in enumerate(unknown, start=1)
            ],
        )
    return bool(unknown)


def leave_out_known_links(connection: Connection, changes: Sequence[Change], arrival: Arrival) -> list[Change]:
    """Leave out links from the node above that contain nothing new for this node.

    An answer to a subscription has all links of its subject, however many of them this node has. One statement finds
    many known links, whereas storing a link again costs several statements.
    """
    plain = [change for change in changes if isinstance(change, DocumentLink) and _is_copy(change, arrival)]
    stored: dict[str, tuple[str, Instant | None, str | None]] = {}
    columns = (_links.c.link_id, _links.c.source_node, _links.c.unlink_time, _links.c.unlink_node)
    for start in range(0, len(plain), _LINKS_AT_ONCE):
        names = [link.link_id for link in plain[start : start + _LINKS_AT_ONCE]]
        for name, *of_link in connection.execute(select(*columns).where(_links.c.link_id.in_(names))):
            stored[name] = (of_link[0], of_link[1], of_link[2])
    known = set()
    for link in plain:
        source = link.source_node or arrival.sender
        end = (link.unlink_time, link.unlink_node)
        if (row := stored.get(link.link_id)) and row[0] == source and (end == (None, None) or end == row[1:]):
            known.add(id(link))
    return [change for change in changes if id(change) not in known]


def _is_copy(link: DocumentLink, arrival: Arrival) -> bool:
    """Return whether another node made a link, and the link brings no keys under the other version of the pepper."""
    others = (link.document.other_key, link.linked_document.other_key)
    return (link.source_node or arrival.sender) != arrival.node and others == (None, None)


def receive_link(connection: Connection, link: DocumentLink, arrival: Arrival) -> LinkEffect:
    """Store a link between two documents, or its end. A link that has ended stays ended.

    Other nodes take the end of a link only from the node that made the link. If another node below sends the end, this
    is a request to end the link (`removals`).
    """
    source = link.source_node or arrival.sender
    # The node above returns a link to the node that made it.
    is_own = source == arrival.node
    link = replace(link, source_node="" if is_own else source)
    if arrival.from_below and not arrival.is_of_sender(source):
        if link.unlink_time is None:
            return LinkEffect.SET_ASIDE
        return _EFFECTS[request_end(connection, link, arrival.sender, arrival.now)]
    inserted = _insert(connection, link)
    _receive_pairs(connection, link, arrival)
    if inserted and take_held(connection, link, arrival.now):
        if is_own:
            return LinkEffect.ENDED
        return LinkEffect.TO_RETURN if arrival.from_below else LinkEffect.TO_PASS_UP
    if is_own:
        if link.unlink_time is None and link.unlink_node is None:
            return LinkEffect.STORED
        return LinkEffect.ENDED if end_own(connection, link, arrival.now) or inserted else LinkEffect.STORED
    if inserted:
        return LinkEffect.STORED
    stored = find_stored(connection, link)
    if stored is None:
        return LinkEffect.SET_ASIDE
    if link.unlink_time is not None:
        # This node recorded an end when the link was removed here. The end that the maker of the link states replaces
        # it.
        not_confirmed = or_(_links.c.unlink_time.is_(None), _links.c.unlink_node == arrival.node)
        ended = {"unlink_time": link.unlink_time, "unlink_node": link.unlink_node}
        connection.execute(update(_links).where(_links.c.link_id == link.link_id, not_confirmed).values(ended))
    elif arrival.from_below:
        if stored.unlink_time is not None or stored.unlink_node is not None:
            return LinkEffect.TO_RETURN
    elif link.unlink_node is not None and within(source, arrival.node):
        # The change is a request to a node below. This node passes the request on to that node.
        asked = (_links.c.link_id == link.link_id, _links.c.unlink_time.is_(None))
        connection.execute(update(_links).where(*asked).values(unlink_node=link.unlink_node))
    return LinkEffect.STORED


def _insert(connection: Connection, link: DocumentLink) -> bool:
    """Store a link unless its id is known. Return whether it is new."""
    values = link_values(link)
    if link.unlink_time is None:
        values["unlink_node"] = None
    return connection.execute(insert_if_absent(connection, _links).values(values)).rowcount == 1


def _receive_pairs(connection: Connection, link: DocumentLink, arrival: Arrival) -> None:
    """Store the pairs of keys of a link. The two keys of a pair are of one document, under two key versions.

    This node cannot check the pairs that a node below states. A pair therefore counts only if the node that states it
    has results under one of the two keys. Otherwise a node could join documents of which it has no results. Links
    follow the same rule.
    """
    pairs = pairs_of(link.document, link.linked_document)
    if pairs and arrival.from_below:
        sources = find_sources(connection, {key for pair in pairs for key in pair})
        stated = {key for key, nodes in sources.items() if any(map(arrival.is_of_sender, nodes))}
        pairs = [pair for pair in pairs if not stated.isdisjoint(pair)]
    record_pairs(connection, pairs)
