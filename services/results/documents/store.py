"""Links between documents of one subject. Look-ups by either document find the results of both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection, and_, insert, or_, select, update
from sqlalchemy.engine import Row

from services.domain.errors import FailedPrecondition, NotFound
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.documents import tables
from services.results.documents.claims import MAX_LINKED, TRUSTED, Neighbour, find_documents
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.records.tables import results
from services.runtime.call import current_actor
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter

M = TypeVar("M", bound=Message)

_KEYS_AT_ONCE = 500
"""Keys in one statement."""

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
        also: Callable[[Connection], None] | None = None,
    ) -> M:
        """Unlink two documents for the current caller. `also` is called at the end of the transaction.

        Raises:
            NotFound: they are not linked.
        """
        actor = current_actor()

        def run(connection: Connection) -> DocumentLink:
            ended = unlink_documents(connection, document, linked, reason, request.now, actor)
            self._change_log.record(connection, [link_change(ended)], request.now)
            if also is not None:
                also(connection)
            return ended

        return await self._writer.write(request, run)

    async def find_active(self, document: LinkedDocument, linked: LinkedDocument) -> DocumentLink:
        """Return the link that unlinking two documents would end. Raises NotFound if they are not linked."""
        found = await self._database.read(_find_active, document, linked)
        if not found:
            raise _not_linked()
        return found[0]

    async def find(self, link_id: str) -> DocumentLink | None:
        """Return a link; None if retention has removed it."""
        return next(iter(await self._database.read(find_links, [link_id])), None)

    async def list_links(self, subject_key: bytes, before: tuple[int, str] | None, limit: int) -> list[DocumentLink]:
        """Return a document's links, ended ones too, newest first."""
        return await self._database.read(list_links, subject_key, before, limit)


def link_change(link: DocumentLink, source: str = "") -> LoggedChange:
    """Return the entry of the change log for a link that was made or ended. `source` is as in `LoggedChange`."""
    keys = (link.document.subject_key, link.linked_document.subject_key)
    return LoggedChange(ChangeKind.LINKS, "", [(link.link_id, 0)], keys, source)


def link_documents(connection: Connection, link: DocumentLink) -> DocumentLink:
    """Link two documents. Return the active link if this node has linked them already, in either direction.

    If only another node has linked them, this node makes its own link, and both links stay.

    Raises:
        FailedPrecondition: TOO_MANY_LINKED, the subject would have more than MAX_LINKED documents.
    """
    _lock_links(connection)
    existing = _find_active(connection, link.document, link.linked_document)
    if existing and not existing[0].source_node:
        return existing[0]
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
    """End the links of two documents. Raises NotFound if they are not linked.

    Ended links stay in the history. Return this node's own link, or another node's if this node has none. No other node
    learns that its link was ended here.
    """
    _lock_links(connection)
    existing = _find_active(connection, document, linked)
    if not existing:
        raise _not_linked()
    ended = {"unlink_time": now, "unlink_reason": reason, "unlink_actor": actor}
    which = _links.c.link_id.in_([link.link_id for link in existing])
    connection.execute(update(_links).where(which).values(ended))
    row = connection.execute(select(_links).where(_links.c.link_id == existing[0].link_id)).one()
    return _from_row(row)


def list_links(
    connection: Connection, subject_key: bytes, before: tuple[int, str] | None, limit: int
) -> list[DocumentLink]:
    """Return a document's links, ended ones too, newest first. Begin after the link `before` (create time and id)."""
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

    Documents without links are left out. The search takes one statement, one more for each further link of a chain, and
    one more if another node made any of the links.
    """
    neighbours: dict[bytes, list[Neighbour]] = {}
    frontier = set(subject_keys)
    asked: set[bytes] = set()
    for _ in range(MAX_LINKED):
        frontier -= asked
        if not frontier:
            break
        asked |= frontier
        pairs = _find_pairs(connection, list(frontier))
        frontier = set()
        for one, other, source in pairs:
            neighbours.setdefault(one, []).append(Neighbour(other, source))
            neighbours.setdefault(other, []).append(Neighbour(one, source))
            frontier |= {one, other}
    is_claimed = any(one.source_node not in TRUSTED for each in neighbours.values() for one in each)
    sources = _find_sources(connection, neighbours.keys()) if is_claimed else {}
    linked = {key: find_documents(key, neighbours, sources) for key in subject_keys if key in neighbours}
    return {key: documents for key, documents in linked.items() if len(documents) > 1}


def find_with_links(connection: Connection, subject_keys: Sequence[bytes]) -> list[bytes]:
    """Return those of the documents that are linked to any other."""
    linked = {key for pair in _find_pairs(connection, list(subject_keys)) for key in pair[:2]}
    return [key for key in subject_keys if key in linked]


def _find_pairs(connection: Connection, keys: list[bytes]) -> Sequence[tuple[bytes, bytes, str]]:
    """Return the active links of these documents as pairs of keys, each with the node that made it."""
    statement = select(_links.c.subject_key, _links.c.linked_subject_key, _links.c.source_node).where(
        or_(_links.c.subject_key.in_(keys), _links.c.linked_subject_key.in_(keys)), _links.c.unlink_time.is_(None)
    )
    return [tuple(row) for row in connection.execute(statement)]


def _find_sources(connection: Connection, keys: Collection[bytes]) -> dict[bytes, set[str]]:
    """Return the nodes from which results of each of these documents came."""
    found: dict[bytes, set[str]] = {}
    ordered = sorted(keys)
    for start in range(0, len(ordered), _KEYS_AT_ONCE):
        some = results.c.subject_key.in_(ordered[start : start + _KEYS_AT_ONCE])
        query = select(results.c.subject_key, results.c.source_node).where(some).distinct()
        for key, node in connection.execute(query):
            found.setdefault(key, set()).add(node)
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


def _not_linked() -> NotFound:
    return NotFound("NOT_FOUND", "the documents are not linked", metadata={"resource": "links/-"})


def _lock_links(connection: Connection) -> None:
    """Lock all links until the commit, because a link that does not exist yet has no row to lock."""
    lock_until_commit(connection, AdvisoryLock.LINKING)


def _find_active(connection: Connection, one: LinkedDocument, other: LinkedDocument) -> list[DocumentLink]:
    """Return the active links of two documents, this node's own first."""
    first, second = one.subject_key, other.subject_key
    query = select(_links).where(
        or_(
            and_(_links.c.subject_key == first, _links.c.linked_subject_key == second),
            and_(_links.c.subject_key == second, _links.c.linked_subject_key == first),
        ),
        _links.c.unlink_time.is_(None),
    )
    return [_from_row(row) for row in connection.execute(query.order_by(_links.c.source_node))]


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
        row.source_node,
    )
