"""Links between documents of one person: look-ups by either document find the results of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection, and_, insert, or_, select, update
from sqlalchemy.engine import Row

from services.domain.errors import FailedPrecondition, NotFound
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.documents import tables
from services.results.documents.model import DocumentLink, LinkedDocument
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter

M = TypeVar("M", bound=Message)

MAX_LINKED = 16
"""Documents that may be one person's; nobody holds more, and a chain of wrong links must end somewhere."""

_TYING = 0x48754C69
"""Of the advisory lock under which documents are tied on PostgreSQL."""

_links = tables.document_links


class DocumentStore:
    """Links between documents. Every write is durable when it returns."""

    def __init__(self, database: Database, writer: IdempotentWriter, change_log: ChangeLog) -> None:
        self._database = database
        self._writer = writer
        self._change_log = change_log

    async def link(self, link: DocumentLink, once: IdempotentRequest[DocumentLink, M]) -> M:
        """Tie two documents together. FailedPrecondition TOO_MANY_LINKED."""

        def run(connection: Connection) -> DocumentLink:
            tied = link_documents(connection, link)
            self._change_log.record(connection, [link_change(tied)], once.now)
            return tied

        return await self._writer.write(once, run)

    async def unlink(
        self,
        document: LinkedDocument,
        linked: LinkedDocument,
        reason: str,
        once: IdempotentRequest[DocumentLink, M],
    ) -> M:
        """Untie two documents. NotFound when they are not tied."""

        def run(connection: Connection) -> DocumentLink:
            untied = unlink_documents(connection, document, linked, reason, once.now)
            self._change_log.record(connection, [link_change(untied)], once.now)
            return untied

        return await self._writer.write(once, run)

    async def list_links(self, subject_key: bytes, before: tuple[int, str] | None, limit: int) -> list[DocumentLink]:
        """A document's links, past ones too, newest first."""
        return await self._database.read(list_links, subject_key, before, limit)


def link_change(link: DocumentLink, source: str = "") -> LoggedChange:
    """A link that was made or removed, as the change log is told of it."""
    keys = (link.document.subject_key, link.linked_document.subject_key)
    return LoggedChange(ChangeKind.LINKS, "", [(link.link_id, 0)], keys, source)


def link_documents(connection: Connection, link: DocumentLink) -> DocumentLink:
    """Tie two documents together; the standing link when they are tied already, either way round.

    Raises:
        FailedPrecondition: TOO_MANY_LINKED, together they would be more than one person's.
    """
    _take_turns(connection)
    standing = _find_standing(connection, link.document, link.linked_document)
    if standing is not None:
        return standing
    _require_one_subject(connection, link.document.subject_key, link.linked_document.subject_key)
    insert_link(connection, link)
    return link


def insert_link(connection: Connection, link: DocumentLink) -> None:
    """Write a new link."""
    connection.execute(
        insert(_links).values(
            link_id=link.link_id,
            subject_key=link.document.subject_key,
            document_type=link.document.type,
            masked_number=link.document.masked_number,
            linked_subject_key=link.linked_document.subject_key,
            linked_document_type=link.linked_document.type,
            linked_masked_number=link.linked_document.masked_number,
            reason=link.reason,
            create_time=link.create_time,
            unlink_reason="",
        )
    )


def unlink_documents(
    connection: Connection, document: LinkedDocument, linked: LinkedDocument, reason: str, now: int
) -> DocumentLink:
    """Untie two documents; the link stays in history. NotFound when they are not tied."""
    _take_turns(connection)
    standing = _find_standing(connection, document, linked)
    if standing is None:
        raise NotFound("NOT_FOUND", "the documents are not tied", metadata={"resource": "links/-"})
    connection.execute(
        update(_links).where(_links.c.link_id == standing.link_id).values(unlink_time=now, unlink_reason=reason)
    )
    row = connection.execute(select(_links).where(_links.c.link_id == standing.link_id)).one()
    return _from_row(row)


def list_links(
    connection: Connection, subject_key: bytes, before: tuple[int, str] | None, limit: int
) -> list[DocumentLink]:
    """A document's links, past ones too, newest first, from the one after `before` (create time and id) on."""
    query = (
        select(_links)
        .where(or_(_links.c.subject_key == subject_key, _links.c.linked_subject_key == subject_key))
        .order_by(_links.c.create_time.desc(), _links.c.link_id.desc())
        .limit(limit)
    )
    if before is not None:
        time, link_id = before
        query = query.where(
            or_(_links.c.create_time < time, and_(_links.c.create_time == time, _links.c.link_id < link_id))
        )
    return [_from_row(row) for row in connection.execute(query)]


def find_links(connection: Connection, link_ids: Sequence[str]) -> list[DocumentLink]:
    """These links, past ones too."""
    query = select(_links).where(_links.c.link_id.in_(link_ids)).order_by(_links.c.link_id)
    return [_from_row(row) for row in connection.execute(query)]


def find_linked(connection: Connection, subject_keys: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """For each person that has tied documents all of their keys, their own first. Others are left out.

    One statement when nobody is tied to anybody, one more for each step along a chain.
    """
    neighbours: dict[bytes, list[bytes]] = {}
    frontier = set(subject_keys)
    asked: set[bytes] = set()
    for _ in range(MAX_LINKED):
        frontier -= asked
        if not frontier:
            break
        asked |= frontier
        ties = _find_ties(connection, list(frontier))
        frontier = set()
        for one, other in ties:
            neighbours.setdefault(one, []).append(other)
            neighbours.setdefault(other, []).append(one)
            frontier |= {one, other}
    return {key: _reachable(key, neighbours) for key in subject_keys if key in neighbours}


def find_tied(connection: Connection, subject_keys: Sequence[bytes]) -> list[bytes]:
    """Which of these documents are tied to any other."""
    tied = {key for tie in _find_ties(connection, list(subject_keys)) for key in tie}
    return [key for key in subject_keys if key in tied]


def _find_ties(connection: Connection, keys: list[bytes]) -> Sequence[tuple[bytes, bytes]]:
    """The standing links of these documents as pairs of keys."""
    statement = select(_links.c.subject_key, _links.c.linked_subject_key).where(
        or_(_links.c.subject_key.in_(keys), _links.c.linked_subject_key.in_(keys)), _links.c.unlink_time.is_(None)
    )
    return [(row[0], row[1]) for row in connection.execute(statement)]


def _reachable(start: bytes, neighbours: dict[bytes, list[bytes]]) -> list[bytes]:
    found = [start]
    for key in found:
        for other in neighbours.get(key, ()):
            if other not in found and len(found) < MAX_LINKED:
                found.append(other)
    return found


def _require_one_subject(connection: Connection, one: bytes, other: bytes) -> None:
    groups = find_linked(connection, [one, other])
    together = len({*groups.get(one, [one]), *groups.get(other, [other])})
    if together > MAX_LINKED:
        raise FailedPrecondition(
            "TOO_MANY_LINKED",
            f"{together} documents would be one person's, and nobody holds more than {MAX_LINKED}; "
            "untie what was tied by mistake first",
            metadata={"limit": str(MAX_LINKED), "count": str(together)},
        )


def _take_turns(connection: Connection) -> None:
    """Let those who tie or untie documents go one after another: a tie that is not there has no row to hold."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_TYING,))


def _find_standing(connection: Connection, one: LinkedDocument, other: LinkedDocument) -> DocumentLink | None:
    first, second = one.subject_key, other.subject_key
    query = select(_links).where(
        or_(
            and_(_links.c.subject_key == first, _links.c.linked_subject_key == second),
            and_(_links.c.subject_key == second, _links.c.linked_subject_key == first),
        ),
        _links.c.unlink_time.is_(None),
    )
    row = connection.execute(query).first()
    return None if row is None else _from_row(row)


def _from_row(row: Row) -> DocumentLink:  # type: ignore[type-arg]
    return DocumentLink(
        row.link_id,
        LinkedDocument(row.subject_key, row.document_type, row.masked_number),
        LinkedDocument(row.linked_subject_key, row.linked_document_type, row.linked_masked_number),
        row.reason,
        row.create_time,
        row.unlink_time,
        row.unlink_reason,
    )
