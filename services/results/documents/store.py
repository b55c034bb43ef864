"""Links between documents of one subject. Look-ups by either document find the results of both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

from google.protobuf.message import Message
from hutong_texts import english
from sqlalchemy import Connection, and_, insert, or_, select, update

from services.domain.errors import NotFound
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.documents import tables
from services.results.documents.claims import MAX_LINKED, TRUSTED, Neighbour, find_documents
from services.results.documents.key_pairs import (
    KeyPair,
    add_other_keys,
    find_twins,
    keys_of,
    pair_keys,
    pairs_of,
    record_pairs,
)
from services.results.documents.limits import require_few_documents, require_few_links
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.documents.rows import link_from_row, link_values
from services.results.records.by_key import KEYS_AT_ONCE, fetch_by_keys
from services.results.records.tables import results
from services.runtime.call import current_actor
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter

M = TypeVar("M", bound=Message)

_links = tables.document_links
_LINKS_AT_ONCE = 10_000
"""How many links one statement looks for."""
_STATEMENTS_KEPT = 64
"""How many statement texts are cached. The text for a look-up of 500 persons has 10 kB."""


class DocumentStore:
    """Links between documents. Every write is durable when it returns."""

    def __init__(self, database: Database, writer: IdempotentWriter, change_log: ChangeLog, node: str = "") -> None:
        self._node = node
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
        """Unlink two documents for the current caller, and call `also` in the same transaction.

        Raises NotFound if they are not linked.
        """
        actor = current_actor()

        def run(connection: Connection) -> DocumentLink:
            ended = unlink_documents(connection, document, linked, reason, request.now, actor, self._node)
            self._change_log.record(connection, [link_change(link) for link in ended], request.now)
            if also is not None:
                also(connection)
            return ended[0]

        return await self._writer.write(request, run)

    async def list_links(
        self, subject_keys: Sequence[bytes], before: tuple[int, str] | None, limit: int
    ) -> list[DocumentLink]:
        """Return a document's links, ended ones too, newest first, by its key under each key version."""
        return await self._database.read(list_links, subject_keys, before, limit)


def link_change(link: DocumentLink, source: str = "") -> LoggedChange:
    """Return the entry of the change log for a link that was made or ended. `source` is as in `LoggedChange`."""
    maker = link.source_node or source
    return LoggedChange(ChangeKind.LINKS, "", [(link.link_id, 0)], keys_of(link), source, maker=maker)


def link_documents(connection: Connection, link: DocumentLink) -> DocumentLink:
    """Link two documents. Return the active link if this node has linked them already, in either direction.

    If only another node has linked them, this node makes its own link, and both links stay.

    Raises:
        FailedPrecondition: TOO_MANY_LINKED, the subject would have more than MAX_LINKED documents, or MAX_KEPT_LINKS
            links of a document are kept.
    """
    lock_links(connection)
    existing = find_active(connection, link.document, link.linked_document)
    if existing and not existing[0].source_node:
        return existing[0]
    pairs = pairs_of(link.document, link.linked_document)
    _require_one_subject(connection, link.document.subject_key, link.linked_document.subject_key, pairs)
    require_few_links(connection, link.document, "document")
    require_few_links(connection, link.linked_document, "linked_document")
    insert_link(connection, link)
    record_pairs(connection, pairs)
    return link


def insert_link(connection: Connection, link: DocumentLink) -> None:
    """Write a new link."""
    connection.execute(insert(_links).values(link_values(link)))


def unlink_documents(
    connection: Connection,
    document: LinkedDocument,
    linked: LinkedDocument,
    reason: str,
    now: int,
    actor: str | None = None,
    node: str = "",
) -> list[DocumentLink]:
    """End the links between two documents and return them. The links that this `node` made come first.

    Ended links stay in the history. If another node made a link, the change log sends a request to end the link to that
    node (`removals`).

    Raises:
        NotFound: the documents have no active link.
    """
    lock_links(connection)
    existing = find_active(connection, document, linked)
    if not existing:
        raise not_linked()
    ended = []
    for link in existing:
        end: dict[str, Any] = {"unlink_time": now, "unlink_reason": reason, "unlink_actor": actor}
        end["unlink_node"] = node if link.source_node else None
        connection.execute(update(_links).where(_links.c.link_id == link.link_id).values(end))
        ended.append(replace(link, **end))
    return ended


def list_links(
    connection: Connection, subject_keys: Sequence[bytes], before: tuple[int, str] | None, limit: int
) -> list[DocumentLink]:
    """Return a document's links, ended ones too, newest first. Begin after the link `before` (create time and id).

    `subject_keys` has the key of the document under each key version.
    """
    query = (
        select(_links)
        .where(or_(_links.c.subject_key.in_(subject_keys), _links.c.linked_subject_key.in_(subject_keys)))
        .order_by(_links.c.create_time.desc(), _links.c.link_id.desc())
        .limit(limit)
    )
    if before is not None:
        time, link_id = before
        query = query.where(
            or_(_links.c.create_time < time, and_(_links.c.create_time == time, _links.c.link_id < link_id))
        )
    return [link_from_row(row) for row in connection.execute(query)]


def find_links(connection: Connection, link_ids: Sequence[str]) -> list[DocumentLink]:
    """Return these links, ended ones too. Each document has both of its keys if the store has both."""
    links: list[DocumentLink] = []
    for start in range(0, len(link_ids), _LINKS_AT_ONCE):
        some = link_ids[start : start + _LINKS_AT_ONCE]
        query = select(_links).where(_links.c.link_id.in_(some)).order_by(_links.c.link_id)
        links += [link_from_row(row) for row in connection.execute(query)]
    return add_other_keys(connection, links)


def find_linked(
    connection: Connection, subject_keys: Sequence[bytes], pairs: Sequence[KeyPair] = ()
) -> dict[bytes, list[bytes]]:
    """Return, for each document with links, the keys of all documents of its subject. Its own keys come first.

    Documents without links are left out. The search runs one statement for each step along a chain of links, and one
    more statement if another node made any of the links. `pairs` are known pairs of keys of one document. A document
    with two known keys is returned with both.
    """
    found = find_linked_documents(connection, subject_keys, pairs)
    return {key: [each for keys in documents for each in keys] for key, documents in found.items()}


def find_all_keys(connection: Connection, keys: Sequence[bytes]) -> Sequence[bytes]:
    """Return the keys of all documents of a subject, given the keys of one of them under each key version."""
    return find_linked(connection, keys[:1], pair_keys(keys)).get(keys[0], keys)


def find_linked_documents(
    connection: Connection, subject_keys: Sequence[bytes], pairs: Sequence[KeyPair] = ()
) -> dict[bytes, list[list[bytes]]]:
    """Return the same as `find_linked`, but with one list for each document.

    The list has the one or two keys of the document.
    """
    groups, twins = _find_groups(connection, subject_keys, pairs)
    return {
        key: [[key, *_other_of(key, twins)], *([one, *_other_of(one, twins)] for one in documents[1:])]
        for key, documents in groups.items()
    }


def _find_groups(
    connection: Connection, subject_keys: Sequence[bytes], pairs: Sequence[KeyPair]
) -> tuple[dict[bytes, list[bytes]], dict[bytes, bytes]]:
    """Return, for each key, all documents of its subject. Return also the known pairs of keys.

    Keys of documents without links are left out. The document of the key comes first. `_document` chooses the key that
    stands for a document. The pairs are returned in both directions.
    """
    twins = {key: other for one, another in pairs for key, other in ((one, another), (another, one))}
    links: set[tuple[bytes, bytes, str]] = set()
    frontier = {key for one in subject_keys for key in (one, *_other_of(one, twins))}
    asked: set[bytes] = set()
    # A document may need two rounds, because its two keys may be found one after the other.
    for _ in range(2 * MAX_LINKED):
        frontier -= asked
        if not frontier:
            break
        asked |= frontier
        found = _find_pairs(connection, list(frontier))
        twins.update(find_twins(connection, list(frontier | {key for link in found for key in link[:2]})))
        links.update(found)
        frontier = {key for link in found for one in link[:2] for key in (one, *_other_of(one, twins))}

    neighbours: dict[bytes, list[Neighbour]] = {}
    for one, other, source in sorted(links):
        first, second = _document(one, twins), _document(other, twins)
        neighbours.setdefault(first, []).append(Neighbour(second, source))
        neighbours.setdefault(second, []).append(Neighbour(first, source))
    sources: dict[bytes, set[str]] = {}
    if any(one.source_node not in TRUSTED for each in neighbours.values() for one in each):
        keys = {key for one in neighbours for key in (one, *_other_of(one, twins))}
        for key, nodes in find_sources(connection, keys).items():
            sources.setdefault(_document(key, twins), set()).update(nodes)
    groups = {
        key: find_documents(document, neighbours, sources)
        for key in subject_keys
        if (document := _document(key, twins)) in neighbours
    }
    return {key: documents for key, documents in groups.items() if len(documents) > 1}, twins


def _document(key: bytes, twins: Mapping[bytes, bytes]) -> bytes:
    """Return the key that stands for a document. Of two keys of the document, that is the smaller one."""
    return min(key, twins.get(key, key))


def _other_of(key: bytes, twins: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    return (twins[key],) if key in twins else ()


def record_linked_pairs(connection: Connection, pairs: Sequence[KeyPair]) -> None:
    """Store the pairs of keys of those documents that have links under either key."""
    for start in range(0, len(pairs), KEYS_AT_ONCE):
        some = pairs[start : start + KEYS_AT_ONCE]
        linked = {key for link in _find_pairs(connection, [key for pair in some for key in pair]) for key in link[:2]}
        record_pairs(connection, [pair for pair in some if not linked.isdisjoint(pair)])


def find_with_links(connection: Connection, subject_keys: Sequence[bytes]) -> list[bytes]:
    """Return which of the documents are linked to another document. Only for SQLite.

    Every look-up runs this statement. The statement therefore bypasses SQLAlchemy, which takes ten times as long to
    build the text.
    """
    driver: Any = connection.connection.driver_connection
    linked = {key for (key,) in driver.execute(_with_links(len(subject_keys)), subject_keys)}
    return [key for key in subject_keys if key in linked]


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _with_links(count: int) -> str:
    """Return the statement of `find_with_links` for `count` documents."""
    keys = ",".join(f"?{number}" for number in range(1, count + 1))
    active = "FROM document_links WHERE unlink_time IS NULL AND"
    return (
        f"SELECT subject_key {active} subject_key IN ({keys})"
        f" UNION ALL SELECT linked_subject_key {active} linked_subject_key IN ({keys})"
    )


def _find_pairs(connection: Connection, keys: list[bytes]) -> Sequence[tuple[bytes, bytes, str]]:
    """Return the active links of these documents as pairs of keys, each with the node that made it."""
    statement = select(_links.c.subject_key, _links.c.linked_subject_key, _links.c.source_node).where(
        or_(_links.c.subject_key.in_(keys), _links.c.linked_subject_key.in_(keys)), _links.c.unlink_time.is_(None)
    )
    return [tuple(row) for row in connection.execute(statement)]


def find_sources(connection: Connection, keys: Collection[bytes]) -> dict[bytes, set[str]]:
    """Return the nodes from which results of each of these documents came."""
    statement = "SELECT DISTINCT subject_key, source_node FROM results WHERE subject_key"
    query = select(results.c.subject_key, results.c.source_node).distinct()
    found: dict[bytes, set[str]] = {}
    for key, node in fetch_by_keys(connection, statement, query, results.c.subject_key, keys):
        found.setdefault(key, set()).add(node)
    return found


def _require_one_subject(connection: Connection, one: bytes, other: bytes, pairs: Sequence[KeyPair]) -> None:
    groups, twins = _find_groups(connection, [one, other], pairs)
    count = len({document for key in (one, other) for document in groups.get(key, [_document(key, twins)])})
    require_few_documents(count)


def not_linked() -> NotFound:
    """Return the error of documents that are not linked."""
    return NotFound("NOT_FOUND", english("the documents are not linked"), metadata={"resource": "links/-"})


def lock_links(connection: Connection) -> None:
    """Lock all links until the commit. A link that does not exist yet has no row, so no single row can be locked."""
    lock_until_commit(connection, AdvisoryLock.LINKING)


def find_active(connection: Connection, one: LinkedDocument, other: LinkedDocument) -> list[DocumentLink]:
    """Return the active links of two documents, this node's own first."""
    first, second = one.keys, other.keys
    query = select(_links).where(
        or_(
            and_(_links.c.subject_key.in_(first), _links.c.linked_subject_key.in_(second)),
            and_(_links.c.subject_key.in_(second), _links.c.linked_subject_key.in_(first)),
        ),
        _links.c.unlink_time.is_(None),
    )
    return [link_from_row(row) for row in connection.execute(query.order_by(_links.c.source_node))]
