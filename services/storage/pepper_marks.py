"""Check that a store's keyed hashes fit the configured pepper and this version's rules.

The rules are those of document classes and of sub-keys. A subject's rows would not be found with another pepper or by
other rules. The store keeps a mark: a keyed hash over constants and the number of the rule of classes. The mark
identifies the pepper and reveals nothing about it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator

from sqlalchemy import Column, Connection, LargeBinary, MetaData, SmallInteger, Table, select

from services.domain.subject import CLASS_RULE, Pepper
from services.domain.subkeys import Purpose
from services.runtime.configuration.variables import BadSetting
from services.storage.engine import Database
from services.storage.errors import UnusableDatabase
from services.storage.upsert import insert_if_absent

MARK_LENGTH = 16
"""The length of a mark in bytes, which is also that of a subject key."""
UNMARKED = b""
"""The mark that a migration gives to a store whose subject keys are older than marks."""


def pepper_marks_table(metadata: MetaData, name: str) -> Table:
    """Return the table of a store's marks: one for each key version."""
    return Table(
        name,
        metadata,
        Column("key_version", SmallInteger, primary_key=True, autoincrement=False),
        Column("mark", LargeBinary(MARK_LENGTH), nullable=False),
    )


def pepper_mark(pepper: Pepper) -> bytes:
    """Return the mark of a pepper by this version's rules."""
    marked = b"hutong, classes %d" % CLASS_RULE
    return hashlib.blake2b(marked, key=pepper.subkey(Purpose.MARK), digest_size=MARK_LENGTH).digest()


def older_marks(pepper: Pepper) -> Iterator[bytes]:
    """Yield the marks of a pepper by the rules of older versions, which derived their sub-keys without HKDF."""
    key = hashlib.sha256(b"mark" + pepper.secret).digest()
    for marked in (b"hutong", b"hutong, classes 2"):
        yield hashlib.blake2b(marked, key=key, digest_size=MARK_LENGTH).digest()


def checking_pepper(database: Database, marks: Table, pepper: Pepper) -> Callable[[], Awaitable[None]]:
    """Return the database's health check. It also checks once that the store's subject keys fit this process.

    The check raises BadSetting for another pepper, UnusableDatabase for a mark by older rules, and Unavailable if the
    database does not answer.
    """
    confirmed = False

    async def check() -> None:
        nonlocal confirmed
        await database.check()
        if not confirmed:
            check_mark(bytes(await database.write(_known_mark, marks, pepper)), pepper)
        confirmed = True

    return check


def _known_mark(connection: Connection, marks: Table, pepper: Pepper) -> bytes:
    """Return the store's mark for the key version. If it has none, store and return this pepper's mark."""
    query = select(marks.c.mark).where(marks.c.key_version == pepper.version)
    known: bytes | None = connection.execute(query).scalar()
    if known is None:
        mark = pepper_mark(pepper)
        connection.execute(insert_if_absent(connection, marks).values(key_version=pepper.version, mark=mark))
        known = connection.execute(query).scalar_one()
    return known


def check_mark(known: bytes, pepper: Pepper) -> None:
    """Check that a store's mark is that of a pepper by this version's rules.

    Raises:
        BadSetting: the store was filled under another pepper.
        UnusableDatabase: the store was filled by an older rule.
    """
    if known == pepper_mark(pepper):
        return
    if known == UNMARKED or known in older_marks(pepper):
        raise UnusableDatabase(
            "the keyed hashes of this database were made by an older rule of document classes or of sub-keys and would "
            "not match: start with a new database and let the laboratories upload again"
        )
    raise BadSetting(
        "the pepper is not the one that this database was filled under, and would find nobody: "
        "give the right HUTONG_PEPPER_FILE, _DESCRIPTOR or _COMMAND"
    )
