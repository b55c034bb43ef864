"""Batches that are stored: when a day is sent again, next to nothing of them need be judged and compared once more.

A batch is known by a keyed hash over its tubes, whatever upload it comes in and wherever it stands there. It is noted
in the transaction that stored it, with the tubes of which somebody was rejected: those are judged anew whenever they
come, so a hash never stands for more than what is stored. What could make another judgement of tubes that were stored
is part of the hash: a laboratory's standings, and the horizon of retention. When one changes nothing is known any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from services.domain.instant import Instant
from services.domain.subject import Pepper
from services.results.labs.model import Lab
from services.results.records.horizon import read_horizon
from services.results.upload import tables
from services.storage.upsert import insert_if_absent

DIGEST_LENGTH = 16
"""Bytes: whoever wanted two batches with one hash would need the pepper."""

MAX_REJECTED_TUBES = 200
"""Of a batch with more than these most is to be judged anyway."""

_batches = tables.known_batches


@dataclass(frozen=True, slots=True)
class KnownBatch:
    """A batch that is stored.

    Attributes:
        unstored: the tubes of which somebody was rejected.
        horizon: of retention, under which the others are stored: once there is another, they may be gone.
    """

    unstored: Sequence[int]
    horizon: Instant | None


def batch_digest(pepper: Pepper, lab: Lab, tubes: bytes) -> bytes:
    """The keyed hash of a batch's serialized tubes, judged by a laboratory's standings.

    Keyed, because a batch may be one person in one tube.
    """
    standings = repr([(change.standing, change.effective_time) for change in lab.changes])
    key = hashlib.sha256(b"batch" + pepper.secret + standings.encode()).digest()
    return hashlib.blake2b(tubes, key=key, digest_size=DIGEST_LENGTH).digest()


def find_known(connection: Connection, lab: str, digest: bytes) -> KnownBatch | None:
    """A batch that is known; None for one that is not."""
    horizon = read_horizon(connection)
    mine = (_batches.c.lab == lab, _batches.c.digest == _under(horizon, digest))
    tubes = connection.execute(select(_batches.c.rejected_tubes).where(*mine)).scalar()
    return None if tubes is None else KnownBatch(list(map(int, tubes.split())), horizon)


def remember(
    connection: Connection,
    lab: str,
    digest: bytes,
    horizon: Instant | None,
    rejected_tubes: Sequence[int],
    now: Instant,
) -> None:
    """Note that every person of the batch but in these tubes is stored, in the transaction that makes it so."""
    if len(rejected_tubes) > MAX_REJECTED_TUBES:
        return
    connection.execute(
        insert_if_absent(connection, _batches).values(
            lab=lab,
            digest=_under(horizon, digest),
            rejected_tubes=" ".join(map(str, rejected_tubes)),
            commit_time=now,
        )
    )


def _under(horizon: Instant | None, digest: bytes) -> bytes:
    """The digest as it is kept while retention has this horizon."""
    return hashlib.blake2b(digest, key=str(horizon).encode(), digest_size=DIGEST_LENGTH).digest()
