"""Links between documents of one subject. Look-ups by either document find the results of both."""

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
from services.runtime.call import current_actor
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter

M = TypeVar("M", bound=Message)

MAX_LINKED = 16
"""Documents that one subject may have: more than any subject holds. It ends chains of wrong links."""

_links = tables.document_links


class DocumentStore:
    """Links between documents. Every write is durable when it returns."""

    def __init__(self, database: Database, writer: IdempotentWriter, change_log: ChangeLog) -> None:
        self._database = database
        self._writer = writer
        self._change_log = change_log

    async def link(self, link: DocumentLink, request: IdempotentRequest[DocumentLink, M]) -> M:
        """Link two documents. Raises FailedPrecondition TOO_MANY_LINKED."""

        def run(connection: Connection) -> DocumentLink:
            stored = link_documents(connection, link)
            self._change_log.record(connection, [link_change(stored)], request.now)
            return stored

        return await self._writer.write(request, run)

    async def unlink(
        self,
        document: LinkedDocument,
        linked: LinkedDocument,
        reason: str,
        request: IdempotentRequest[DocumentLink, M],
    ) -> M:
        """Unlink two documents for the current caller. Raises NotFound if they are not linked."""
        actor = current_actor()

        def run(connection: Connection) -> DocumentLink:
            ended = unlink_documents(connection, document, linked, reason, request.now, actor)
            self._change_log.record(connection, [link_change(ended)], request.now)
            return ended

        return await self._writer.write(request, run)

    async def list_links(self, subject_key: bytes, before: tuple[int, str] | None, limit: int) -> list[DocumentLink]:
        """Return a document's links, ended ones too, newest first."""
        return await self._database.read(list_links, subject_key, before, limit)


def link_change(link: DocumentLink, source: str = "") -> LoggedChange:
    """Return the entry of the change log for a link that was made or ended. `source` is as in `LoggedChange`."""
    keys = (link.document.subject_key, link.linked_document.subject_key)
    return LoggedChange(ChangeKind.LINKS, "", [(link.link_id, 0)], keys, source)


def link_documents(connection: Connection, link: DocumentLink) -> DocumentLink:
    """Link two documents. Return the active link if they are linked already, in either direction.

    Raises:
        FailedPrecondition: TOO_MANY_LINKED, the subject would have more than MAX_LINKED documents.
    """
    _lock_links(connection)
    existing = _find_link(connection, link.document, link.linked_document)
    if existing is not None:
        return existing
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
            actor=link.actor,
        )
    )


def unlink_documents(
    connection: Connection,
    document: LinkedDocument,
    linked: LinkedDocument,
    reason: str,
    now: int,
    actor: str | None = None,
) -> DocumentLink:
    """End the link of two documents, which stays in history. Raises NotFound if they are not linked."""
    _lock_links(connection)
    existing = _find_link(connection, document, linked)
    if existing is None:
        raise NotFound("NOT_FOUND", "the documents are not linked", metadata={"resource": "links/-"})
    ended = {"unlink_time": now, "unlink_reason": reason, "unlink_actor": actor}
    connection.execute(update(_links).where(_links.c.link_id == existing.link_id).values(ended))
    row = connection.execute(select(_links).where(_links.c.link_id == existing.link_id)).one()
    return _from_row(row)


def list_links(
    connection: Connection, subject_key: bytes, before: tuple[int, str] | None, limit: int
) -> list[DocumentLink]:
    """Return a document's links, ended ones too, newest first, after the one of `before` (create time and id)."""
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
    """Return these links, ended ones too."""
    query = select(_links).where(_links.c.link_id.in_(link_ids)).order_by(_links.c.link_id)
    return [_from_row(row) for row in connection.execute(query)]


def find_linked(connection: Connection, subject_keys: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """Return, for each document that is linked, the keys of all documents of its subject, its own first.

    Documents without links are left out. Needs one statement, and one more for each further link of a chain.
    """
    neighbours: dict[bytes, list[bytes]] = {}
    frontier = set(subject_keys)
    asked: set[bytes] = set()
    for _ in range(MAX_LINKED):
        frontier -= asked
        if not frontier:
            break
        asked |= frontier
        pairs = _find_pairs(connection, list(frontier))
        frontier = set()
        for one, other in pairs:
            neighbours.setdefault(one, []).append(other)
            neighbours.setdefault(other, []).append(one)
            frontier |= {one, other}
    return {key: _reachable(key, neighbours) for key in subject_keys if key in neighbours}


def find_with_links(connection: Connection, subject_keys: Sequence[bytes]) -> list[bytes]:
    """Return those of the documents that are linked to any other."""
    linked = {key for pair in _find_pairs(connection, list(subject_keys)) for key in pair}
    return [key for key in subject_keys if key in linked]


def _find_pairs(connection: Connection, keys: list[bytes]) -> Sequence[tuple[bytes, bytes]]:
    """Return the active links of these documents as pairs of keys."""
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
    count = len({*groups.get(one, [one]), *groups.get(other, [other])})
    if count > MAX_LINKED:
        raise FailedPrecondition(
            "TOO_MANY_LINKED",
            f"{count} documents would belong to one person, who may have at most {MAX_LINKED}; "
            "unlink documents that were linked by mistake first",
            metadata={"limit": str(MAX_LINKED), "count": str(count)},
        )


def _lock_links(connection: Connection) -> None:
    """Let one transaction at a time change links. A link that does not exist yet has no row that could be locked."""
    lock_until_commit(connection, AdvisoryLock.LINKING)


def _find_link(connection: Connection, one: LinkedDocument, other: LinkedDocument) -> DocumentLink | None:
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
        row.actor,
        row.unlink_actor,
    )
