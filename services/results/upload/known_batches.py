"""Recognises stored batches, so that a laboratory that sends its day again causes little work.

A batch is known by a keyed hash over its tubes, in any upload and at any offset. The hash is stored in the transaction
that commits the batch, together with the indexes of the tubes that had a rejection. Such a tube is not stored
completely, so it is validated again each time. The laboratory's standings, the horizon of retention and the admitted
items could change the validation of stored tubes. They are therefore part of the hash, and after a change of any of
them no earlier batch is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from services.domain.instant import Instant
from services.domain.names import DEFAULT_ITEM
from services.domain.subject import Pepper
from services.domain.subkeys import Purpose
from services.results.labs.model import Lab
from services.results.records.horizon import read_horizon
from services.results.upload import tables
from services.results.upload.model import Rejection
from services.storage.upsert import insert_if_absent

DIGEST_LENGTH = 16
"""The length of the hash in bytes. 128 bits are enough, because nobody can search for a collision without the
pepper."""

MAX_REJECTED_TUBES = 200
"""A batch with more rejected tubes is not stored as known, because most of its tubes must be validated again anyway."""

_batches = tables.known_batches
_FIND = (
    select(_batches.c.rejected_tubes)
    .where(_batches.c.lab == bindparam("of_lab"), _batches.c.digest.in_(bindparam("digests", expanding=True)))
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class KnownBatch:
    """A batch that is stored.

    Attributes:
        unstored: indexes of the tubes that had a rejection.
        horizon: the horizon of retention when the other tubes were stored. Under a later horizon these tubes may have
            been removed.
    """

    unstored: Sequence[int]
    horizon: Instant | None


def batch_digest(pepper: Pepper, lab: Lab, items: Sequence[str], tubes: bytes) -> bytes:
    """Return the keyed hash of a batch's serialized tubes under a laboratory's standings and the admitted items.

    The hash is keyed, because a batch may be one tube of one person. From a hash without a key, an attacker could find
    that person's data by trying out values.
    """
    standings = repr([(change.standing, change.effective_time) for change in lab.changes])
    # If only the default item is admitted, the hash gets no items, so that batches that were stored before uploads had
    # items are still recognised.
    admitted = "" if list(items) == [DEFAULT_ITEM] else repr(sorted(items))
    admission = f"{standings}\0{admitted}".encode()
    key = hashlib.blake2b(admission, key=pepper.subkey(Purpose.KNOWN_BATCHES), digest_size=32).digest()
    return hashlib.blake2b(tubes, key=key, digest_size=DIGEST_LENGTH).digest()


def find_known(connection: Connection, lab: str, digests: Sequence[bytes]) -> KnownBatch | None:
    """Return a known batch by its digest under each key version; None if it is not known."""
    horizon = read_horizon(connection)
    stored = [_under_horizon(horizon, digest) for digest in digests]
    tubes = connection.execute(_FIND, {"of_lab": lab, "digests": stored}).scalar()
    return None if tubes is None else KnownBatch(list(map(int, tubes.split())), horizon)


def add_known(
    connection: Connection,
    lab: str,
    batches: Iterable[tuple[bytes, Sequence[Rejection], Instant]],
    horizon: Instant | None,
) -> None:
    """Record that every person of these batches is stored, except the persons in rejected tubes. Part of the commit.

    Each batch is given by its digest, its rejections and its commit time. A batch without a digest is left out.
    """
    rows = []
    for digest, rejections, commit_time in batches:
        rejected_tubes = sorted({rejection.tube_index for rejection in rejections})
        if digest and len(rejected_tubes) <= MAX_REJECTED_TUBES:
            rows.append(
                {
                    "lab": lab,
                    "digest": _under_horizon(horizon, digest),
                    "rejected_tubes": " ".join(map(str, rejected_tubes)),
                    "commit_time": commit_time,
                }
            )
    if rows:
        connection.execute(insert_if_absent(connection, _batches), rows)


def _under_horizon(horizon: Instant | None, digest: bytes) -> bytes:
    """Return the digest as it is stored under this horizon of retention."""
    return hashlib.blake2b(digest, key=str(horizon).encode(), digest_size=DIGEST_LENGTH).digest()
