"""Checks that a store's keyed hashes fit the configured pepper and this version's rules.

The rules are those of document classes and of sub-keys. With another pepper or other rules, the rows of a subject would
not be found. The store keeps a mark for each key version: a keyed hash over constants and the number of the rule of
document classes. The mark identifies the pepper and reveals nothing about it.

When two nodes connect, each names its key versions with their marks. It names the version that it writes. While the
pepper rotates, it also names the other version that it reads. The nodes exchange data only if each reads the version
that the other writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

from hutong.exchange.v1.exchange_service_pb2 import ReplicateStart, WatchNotificationsRequest
from hutong.exchange.v1.refusal_exchange_service_pb2 import RefusalExchangeStart
from hutong_texts import english
from sqlalchemy import Column, Connection, LargeBinary, MetaData, SmallInteger, Table, select

from services.domain.errors import FailedPrecondition
from services.domain.subject import CLASS_RULE, Pepper
from services.domain.subkeys import Purpose
from services.runtime.configuration.variables import BadSetting
from services.storage.engine import Database
from services.storage.errors import UnusableDatabase
from services.storage.upsert import insert_if_absent

MARK_LENGTH = 16
"""The length of a mark in bytes, which is also the length of a subject key."""
Named = ReplicateStart | WatchNotificationsRequest | RefusalExchangeStart
"""A message in which a node names its versions."""
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
    """Yield the marks of a pepper by the rules of older releases, which derived their sub-keys without HKDF."""
    key = hashlib.sha256(b"mark" + pepper.secret).digest()
    for marked in (b"hutong", b"hutong, classes 2"):
        yield hashlib.blake2b(marked, key=key, digest_size=MARK_LENGTH).digest()


def checking_pepper(database: Database, marks: Table, pepper: Pepper) -> Callable[[], Awaitable[None]]:
    """Return the health check of the database. Until it succeeds once, it also compares the store's marks.

    The check raises BadSetting for another pepper, UnusableDatabase for a mark by older rules, and Unavailable if the
    database does not answer.
    """
    confirmed = False

    async def check() -> None:
        nonlocal confirmed
        await database.check()
        if not confirmed:
            check_marks(await database.write(_known_marks, marks, pepper), pepper)
        confirmed = True

    return check


def _known_marks(connection: Connection, marks: Table, pepper: Pepper) -> dict[int, bytes]:
    """Return the store's mark of each key version, after storing the marks that are missing.

    Marks are stored for the version that this process writes and for older versions. The mark of a newer version is
    stored only by processes that write it. The operator can therefore give up a rotation of the pepper until a process
    writes the newer version. If the store has a version that this process does not know, nothing is stored.
    """
    known = read_marks(connection, marks)
    missing = [one for one in pepper.versions if one.version <= pepper.version and one.version not in known]
    if missing and {one.version for one in pepper.versions}.issuperset(known):
        for one in missing:
            row = {"key_version": one.version, "mark": pepper_mark(one)}
            connection.execute(insert_if_absent(connection, marks).values(row))
        known = read_marks(connection, marks)
    return known


def read_marks(connection: Connection, marks: Table) -> dict[int, bytes]:
    """Return the store's mark of each key version."""
    return {row.key_version: bytes(row.mark) for row in connection.execute(select(marks))}


def check_marks(known: Mapping[int, bytes], pepper: Pepper) -> None:
    """Check that a process has the pepper of each key version of which a store may have rows.

    Raises:
        BadSetting: the store was filled under another pepper, or the pepper of a version is missing.
        UnusableDatabase: the store was filled by an older rule.
    """
    for version, mark in sorted(known.items()):
        of_version = pepper.of_version(version)
        if of_version is None:
            raise BadSetting(
                english(
                    "this database may have rows under version {version} of the pepper, which would not be "
                    "found: give it as HUTONG_PEPPER_FILE with HUTONG_PEPPER_VERSION, or as "
                    "HUTONG_PEPPER_OTHER_FILE with HUTONG_PEPPER_OTHER_VERSION, until hutongd key rotate "
                    "--end has removed the version",
                    version=version,
                )
            )
        check_mark(mark, of_version)


def check_mark(known: bytes, pepper: Pepper) -> None:
    """Check that a store's mark is the mark of a pepper by this version's rules.

    Raises:
        BadSetting: the store was filled under another pepper.
        UnusableDatabase: the store was filled by an older rule.
    """
    if known == pepper_mark(pepper):
        return
    if known == UNMARKED or known in older_marks(pepper):
        raise UnusableDatabase(
            english(
                "the keyed hashes of this database were made by an older rule of document classes or of sub-keys and "
                "would not match: start with a new database and let the laboratories upload again"
            )
        )
    raise BadSetting(
        english(
            "version {version} of the pepper is not the one that this database was filled under, and would find "
            "nobody: give the right HUTONG_PEPPER_FILE, _DESCRIPTOR or _COMMAND",
            version=pepper.version,
        )
    )


def name_versions(message: Named, pepper: Pepper) -> None:
    """Write this node's key versions and their marks into a message."""
    message.key_version, message.pepper_mark = pepper.version, pepper_mark(pepper)
    if pepper.other is not None:
        message.other_key_version, message.other_pepper_mark = pepper.other.version, pepper_mark(pepper.other)


def require_common_versions(message: Named, pepper: Pepper) -> None:
    """Check that this node and the sender of a message each read the key version that the other node writes.

    Raises:
        FailedPrecondition: PEPPER_MISMATCH, a node does not read the version of the other node, or the two nodes have
            different peppers under one version.
    """
    theirs = {message.key_version: message.pepper_mark}
    if message.other_key_version:
        theirs.setdefault(message.other_key_version, message.other_pepper_mark)
    ours = {one.version: pepper_mark(one) for one in pepper.versions}
    differ = any(theirs[version] != ours[version] for version in theirs.keys() & ours.keys())
    if differ or message.key_version not in ours or pepper.version not in theirs:
        raise _mismatch(message.node)


def marks_of(pepper: Pepper) -> list[bytes]:
    """Return the mark of each key version that this process reads. The version that it writes comes first."""
    return [pepper_mark(one) for one in pepper.versions]


def require_marks(given: Collection[bytes], own: Collection[bytes], node: str) -> None:
    """Check that a service of this node has hashed under each key version that this process reads.

    `given` are the marks of the other service, and `own` those of this process.

    Raises:
        FailedPrecondition: PEPPER_MISMATCH, rows under one of the versions would not be found.
    """
    if not all(mark in given for mark in own):
        raise _mismatch(node)


def _mismatch(node: str) -> FailedPrecondition:
    return FailedPrecondition(
        "PEPPER_MISMATCH",
        english("the subject keys are made with another pepper, or with a version that one of the nodes does not read"),
        metadata={"node": node},
    )


def newest_version(pepper: Pepper) -> int:
    """Return the greatest key version that this node knows. Rows of earlier versions may still arrive."""
    return max(one.version for one in pepper.versions)
