"""Batches that are stored: when a day is sent again, next to nothing of them need be judged and compared once more.

A batch is known by a keyed hash over its tubes, whatever upload it comes in and wherever it stands there. It is noted
in the transaction that stored it, with the tubes of which somebody was rejected: those are judged anew whenever they
come, so a hash never stands for more than what is stored. What could make another judgement of tubes that were stored
forgets the batch: a laboratory's new standing, retention.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from services.domain.instant import Instant
from services.domain.subject import Pepper
from services.results import tables
from services.storage.conflict import insert_unless_there

DIGEST_LENGTH = 16
"""Bytes: whoever wanted two batches with one hash would need the pepper."""

MAX_REJECTED_TUBES = 200
"""Of a batch with more than these most is to be judged anyway."""

_batches = tables.known_batches


def batch_digest(pepper: Pepper, tubes: bytes) -> bytes:
    """The keyed hash of a batch's serialized tubes; keyed, because a batch may be one person in one tube."""
    key = hashlib.sha256(b"batch" + pepper.secret).digest()
    return hashlib.blake2b(tubes, key=key, digest_size=DIGEST_LENGTH).digest()


def find_unstored(connection: Connection, lab: str, digest: bytes) -> list[int] | None:
    """Of a batch that is known the tubes of which somebody was rejected; None for one that is not known."""
    query = select(_batches.c.rejected_tubes).where(_batches.c.lab == lab, _batches.c.digest == digest)
    tubes = connection.execute(query).scalar()
    return None if tubes is None else list(map(int, tubes.split()))


def remember(connection: Connection, lab: str, digest: bytes, rejected_tubes: Sequence[int], now: Instant) -> None:
    """Note that every person of the batch but in these tubes is stored, in the transaction that makes it so."""
    if len(rejected_tubes) > MAX_REJECTED_TUBES:
        return
    connection.execute(
        insert_unless_there(connection, _batches).values(
            lab=lab, digest=digest, rejected_tubes=" ".join(map(str, rejected_tubes)), commit_time=now
        )
    )


def forget(connection: Connection, lab: str | None = None) -> None:
    """Forget the batches of one laboratory, or of all."""
    statement = delete(_batches)
    connection.execute(statement if lab is None else statement.where(_batches.c.lab == lab))
