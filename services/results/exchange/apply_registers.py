"""What the nation keeps of the provinces' registers: laboratories with the history of their standing, and links."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from services.results.documents.model import DocumentLink
from services.results.documents.tables import document_links
from services.results.exchange import tables
from services.results.labs.model import Lab
from services.results.labs.queries import find_labs
from services.results.labs.tables import lab_standings, labs
from services.storage.upsert import insert_if_absent


def receive_lab(connection: Connection, lab: Lab, sender: str) -> None:
    """Take in a laboratory as its node knows it; entries of its history that are not known yet are added.

    One that several nodes have registered has the entries of all of them: whoever suspended it last is heard.
    """
    standings, homes = lab_standings, tables.lab_homes
    connection.execute(
        insert_if_absent(connection, labs).values(
            uscc=lab.uscc,
            display_name=lab.display_name,
            region=lab.region,
            contact=lab.contact,
            authorize_time=lab.authorize_time,
            create_time=lab.create_time,
        )
    )
    # Held, so that two nodes' entries get numbers of their own.
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
                    "entry": len(stored) + place,
                    "standing": change.standing,
                    "effective_time": change.effective_time,
                    "reason": change.reason,
                    "record_time": change.record_time,
                }
                for place, change in enumerate(unknown, start=1)
            ],
        )


def receive_link(connection: Connection, link: DocumentLink) -> None:
    """Take in a tie between two documents, or its end, which stays."""
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
