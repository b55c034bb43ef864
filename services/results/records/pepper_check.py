"""Check that the configured pepper is the one of the store. With another one no subject's results would be found.

The store keeps a mark of its pepper: a keyed hash over a constant, which identifies the pepper and reveals nothing of
it.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, select

from services.domain.subject import Pepper
from services.results.records import tables
from services.storage.upsert import insert_if_absent

MARK_LENGTH = 16
"""Length of a mark in bytes, as that of a subject key."""


def pepper_mark(pepper: Pepper) -> bytes:
    """Return the mark of a pepper."""
    key = hashlib.sha256(b"mark" + pepper.secret).digest()
    return hashlib.blake2b(b"hutong", key=key, digest_size=MARK_LENGTH).digest()


def is_pepper_of_store(connection: Connection, pepper: Pepper) -> bool:
    """Whether the store's mark is that of this pepper. A store without a mark for the key version takes this one."""
    marks = tables.pepper_marks
    mark = pepper_mark(pepper)
    query = select(marks.c.mark).where(marks.c.key_version == pepper.version)
    known = connection.execute(query).scalar()
    if known is None:
        connection.execute(insert_if_absent(connection, marks).values(key_version=pepper.version, mark=mark))
        known = connection.execute(query).scalar()
    return known == mark
