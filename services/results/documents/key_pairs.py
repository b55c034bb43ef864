"""The two keys of a document that has links, while the pepper rotates."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import Connection, select

from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.documents.tables import key_pairs
from services.results.records.by_key import KEYS_AT_ONCE
from services.storage.upsert import insert_if_absent

KeyPair = tuple[bytes, bytes]
"""The keys of one document under two key versions, in any order."""


def record_pairs(connection: Connection, pairs: Collection[KeyPair]) -> None:
    """Store the pairs of keys of documents that have links.

    Rows are written in sorted order, so that two transactions never deadlock.
    """
    rows = sorted({row for one, other in pairs for row in ((one, other), (other, one))})
    if rows:
        new = insert_if_absent(connection, key_pairs)
        connection.execute(new, [{"subject_key": one, "other_key": other} for one, other in rows])


def pairs_of(*documents: LinkedDocument) -> list[KeyPair]:
    """Return the key pair of each document of which both keys are known."""
    return [pair for document in documents for pair in pair_keys(document.keys)]


def pair_keys(keys: Sequence[bytes]) -> list[KeyPair]:
    """Return the keys of one document as a list of one pair. Return an empty list if there is only one key."""
    return [(keys[0], other) for other in keys[1:]]


def find_twins(connection: Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the stored pairs that contain one of these keys. Each key of a pair is mapped to the other key."""
    found: dict[bytes, bytes] = {}
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = key_pairs.c.subject_key.in_(keys[start : start + KEYS_AT_ONCE])
        for one, other in connection.execute(select(key_pairs).where(some)):
            found[one], found[other] = other, one
    return found


def add_other_keys(connection: Connection, links: Sequence[DocumentLink]) -> list[DocumentLink]:
    """Return the links with the second key of each document, where the store has it."""
    twins = find_twins(connection, sorted({key for link in links for key in keys_of(link)}))

    def with_other(document: LinkedDocument) -> LinkedDocument:
        other = twins.get(document.subject_key)
        return document if other is None else replace(document, other_key=other)

    return [
        replace(link, document=with_other(link.document), linked_document=with_other(link.linked_document))
        for link in links
    ]


def keys_of(link: DocumentLink) -> tuple[bytes, bytes]:
    """Return the subject keys of a link, one for each document."""
    return link.document.subject_key, link.linked_document.subject_key
