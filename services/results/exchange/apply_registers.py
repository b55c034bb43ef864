"""Apply changes of another node's registers: laboratories with the history of their standing, and links."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from services.results.documents.model import DocumentLink
from services.results.documents.tables import document_links
from services.results.exchange import tables
from services.results.labs.model import Lab
from services.results.labs.queries import find_labs, lab_values
from services.results.labs.tables import lab_standings, labs
from services.storage.upsert import insert_if_absent


def receive_lab(connection: Connection, lab: Lab, sender: str) -> None:
    """Store a laboratory as its node knows it. Add the entries of its history that are unknown here.

    A laboratory that several nodes have registered gets the entries of all of them, so the last suspension counts.
    """
    standings, homes = lab_standings, tables.lab_homes
    connection.execute(insert_if_absent(connection, labs).values(**lab_values(lab)))
    # The row is locked so that the entries of two nodes get different numbers.
    connection.execute(select(labs.c.uscc).where(labs.c.uscc == lab.uscc).with_for_update())
    connection.execute(insert_if_absent(connection, homes).values(uscc=lab.uscc, node=sender))
    stored = find_labs(connection, [lab.uscc])[lab.uscc].changes
    unknown = [change for change in lab.changes if change not in stored]
    if unknown:
        connection.execute(
            insert(standings),
            [
                {
                    "uscc": lab.uscc,
                    "entry": len(stored) + index,
                    "standing": change.standing,
                    "effective_time": change.effective_time,
                    "reason": change.reason,
                    "record_time": change.record_time,
                }
                for index, change in enumerate(unknown, start=1)
            ],
        )


def receive_link(connection: Connection, link: DocumentLink) -> None:
    """Store a link between two documents, or its end. A link that has ended stays ended."""
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
        )
    )
    if inserted.rowcount == 0 and link.unlink_time is not None:
        connection.execute(
            update(links)
            .where(links.c.link_id == link.link_id, links.c.unlink_time.is_(None))
            .values(unlink_time=link.unlink_time)
        )
