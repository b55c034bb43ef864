"""Which pepper a store was filled under: with another one nobody would be found, and everybody turned away.

A mark is a keyed hash over a constant; it tells a pepper from every other and gives nothing of it away.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, select

from services.domain.subject import Pepper
from services.results.records import tables
from services.storage.upsert import insert_if_absent

MARK_LENGTH = 16
"""Bytes."""


def pepper_mark(pepper: Pepper) -> bytes:
    """The mark of a pepper."""
    key = hashlib.sha256(b"mark" + pepper.secret).digest()
    return hashlib.blake2b(b"hutong", key=key, digest_size=MARK_LENGTH).digest()


def is_pepper_of_store(connection: Connection, pepper: Pepper) -> bool:
    """Whether the store was filled under this pepper; the first one it is asked about becomes its own."""
    marks = tables.pepper_marks
    mark = pepper_mark(pepper)
    query = select(marks.c.mark).where(marks.c.key_version == pepper.version)
    known = connection.execute(query).scalar()
    if known is None:
        connection.execute(insert_if_absent(connection, marks).values(key_version=pepper.version, mark=mark))
        known = connection.execute(query).scalar()
    return known == mark
