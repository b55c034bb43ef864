"""Apply changes of another node's registers: laboratories with the history of their standing, and links."""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select, update

from services.results.documents.key_pairs import pairs_of, record_pairs
from services.results.documents.model import DocumentLink
from services.results.documents.store import find_sources
from services.results.documents.tables import document_links
from services.results.exchange import tables
from services.results.exchange.arrival import Arrival
from services.results.exchange.homes.register import store_homes
from services.results.labs.model import Lab, StandingChange
from services.results.labs.queries import lab_values
from services.results.labs.tables import lab_standings, labs
from services.storage.advisory_locks import AdvisoryLock, share_until_commit
from services.storage.upsert import insert_if_absent

_labs = labs
_standings = lab_standings
_homes = tables.lab_homes


def receive_lab(connection: Connection, lab: Lab, sender: str) -> bool:
    """Store a laboratory as a node knows it. Add the entries of its history that the node has not sent before.

    Return whether the registration is a new conflict: another node has registered the laboratory, and no home is known.
    In a conflict the entries of neither node count.
    """
    share_until_commit(connection, AdvisoryLock.HOMES)
    stated = {**lab_values(lab), "source_node": sender}
    connection.execute(insert_if_absent(connection, _labs).values(**stated))
    # The row is locked so that the entries of two nodes get different numbers.
    connection.execute(select(_labs.c.uscc).where(_labs.c.uscc == lab.uscc).with_for_update())
    is_new = connection.execute(insert_if_absent(connection, _homes).values(uscc=lab.uscc, node=sender)).rowcount == 1
    _add_standings(connection, lab, sender)
    store_homes(connection, [lab.uscc])
    # The home's statement replaces that of another node. A registration by the nation itself stays.
    at_home = (_labs.c.uscc == lab.uscc, _labs.c.home == sender, _labs.c.source_node.not_in(("", sender)))
    connection.execute(update(_labs).where(*at_home).values(**stated))
    return is_new and connection.execute(select(_labs.c.home).where(_labs.c.uscc == lab.uscc)).scalar() == ""


def _add_standings(connection: Connection, lab: Lab, sender: str) -> None:
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


def receive_link(connection: Connection, link: DocumentLink, arrival: Arrival) -> bool:
    """Store a link between two documents, or its end. A link that has ended stays ended.

    Return whether the link is the sender's. The nation stores no other link, because only the node that made a link
    ends it.
    """
    if arrival.at_nation and link.source_node not in ("", arrival.sender):
        return False
    source = link.source_node or arrival.sender
    # The nation returns a link to the node that made it, if that node was restored from an older copy.
    source = "" if source == arrival.node else source
    links = document_links
    inserted = connection.execute(
        insert_if_absent(connection, links).values(
            link_id=link.link_id,
            subject_key=link.document.subject_key,
            document_type=link.document.type,
            masked_number="",
            linked_subject_key=link.linked_document.subject_key,
            linked_document_type=link.linked_document.type,
            linked_masked_number="",
            reason="",
            create_time=link.create_time,
            unlink_time=link.unlink_time,
            unlink_reason="",
            source_node=source,
            key_version=link.key_version,
        )
    )
    _receive_pairs(connection, link, arrival)
    if inserted.rowcount:
        return True
    stored = (links.c.link_id == link.link_id, links.c.source_node == source)
    if link.unlink_time is not None:
        ended = update(links).where(*stored, links.c.unlink_time.is_(None))
        connection.execute(ended.values(unlink_time=link.unlink_time))
    return connection.execute(select(links.c.link_id).where(*stored)).first() is not None


def _receive_pairs(connection: Connection, link: DocumentLink, arrival: Arrival) -> None:
    """Store the keys that a node states to be of one document under two key versions.

    The nation cannot check them. As a link does, they count only beside results of the node that states them, so that
    a node cannot join documents of which it has no results.
    """
    pairs = pairs_of(link.document, link.linked_document)
    if pairs and arrival.at_nation:
        sources = find_sources(connection, {key for pair in pairs for key in pair})
        pairs = [pair for pair in pairs if any(arrival.sender in sources.get(key, ()) for key in pair)]
    record_pairs(connection, pairs)
