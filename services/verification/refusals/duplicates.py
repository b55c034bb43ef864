"""Several reports of one refusal: the earliest one counts, and the others have its assessment and its answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, select

from services.domain.instant import Instant
from services.storage.advisory_locks import AdvisoryLock, lock_names_until_commit
from services.verification.refusals.outbox import enqueue
from services.verification.refusals.routing import Links
from services.verification.refusals.rows import from_row, write_changes
from services.verification.refusals.rules import ANSWER, ASSESSMENT, Refusal
from services.verification.refusals.tables import refusals

_C = refusals.c


def with_what_is_known(refusal: Refusal, other: Refusal) -> Refusal:
    """Return a report, filled in from another report of the same refusal.

    The report gets the assessment of the other report if it has no assessment, and the answer if it has no answer.
    """
    for part in (ASSESSMENT, ANSWER):
        if getattr(refusal, part[-1]) is None:
            refusal = refusal.with_part(other, part)
    return refusal


def copy_to_duplicates(connection: Connection, refusal: Refusal, links: Links, now: Instant) -> None:
    """Give the later reports of a refusal the assessment and the answer of the earliest one."""
    query = select(refusals).where(_C.duplicate_of == refusal.uuid).order_by(_C.uuid)
    for duplicate in [from_row(row) for row in connection.execute(query)]:
        copied = duplicate
        for part in (ASSESSMENT, ANSWER):
            if getattr(refusal, part[-1]) is not None:
                copied = copied.with_part(refusal, part)
        if copied != duplicate:
            write_changes(connection, duplicate, copied)
            enqueue(connection, copied, links, now)


def lock_same(connection: Connection, keys: Iterable[bytes]) -> None:
    """Lock these keys until the transaction ends, so that no other transaction stores reports with any of them.

    Two reports may have one key in common, but in different columns. No unique index then excludes the second report. A
    transaction calls this function once, before it locks any row.
    """
    if connection.dialect.name == "postgresql" and (names := [key.hex() for key in keys]):
        lock_names_until_commit(connection, AdvisoryLock.SAME_REFUSALS, names)


def unite(
    connection: Connection, same: Sequence[Refusal], keys: Collection[bytes], links: Links, now: Instant
) -> Refusal:
    """Of several stored reports of one refusal, make all but the earliest its duplicates. Return the earliest.

    `keys` are the hashes of a further report of the refusal.
    """
    stored, *others = same
    first = stored.with_keys_of(keys)
    for other in others:
        first = with_what_is_known(first, other)
        demote(connection, other, first.uuid, links, now)
    if first != stored:
        write_changes(connection, stored, first)
    if others:
        # Hashes alone are not sent, so a report that has got only a hash need not be sent.
        enqueue(connection, first, links, now)
        copy_to_duplicates(connection, first, links, now)
    return first


def demote(connection: Connection, refusal: Refusal, earlier: str, links: Links, now: Instant) -> None:
    """Make a report a duplicate of an earlier report of the same refusal.

    Duplicates of the later report also become duplicates of the earlier report.
    """
    query = select(refusals).where((_C.uuid == refusal.uuid) | (_C.duplicate_of == refusal.uuid)).order_by(_C.uuid)
    for one in [from_row(row) for row in connection.execute(query)]:
        demoted = one.as_duplicate_of(earlier)
        write_changes(connection, one, demoted)
        enqueue(connection, demoted, links, now)
