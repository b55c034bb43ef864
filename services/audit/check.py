"""Checks the chain of the audit: finds rows that were changed or are missing, and names rows without a seal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hutong_texts import Text, english
from sqlalchemy import Connection, func, select

from services.audit.kept_keys import add_kept_keys
from services.audit.keys import AuditKeys
from services.audit.model import Chain, LoggedHead, Seal
from services.audit.rows import BEGINNING, read_entries
from services.audit.sealer import keys_of
from services.audit.tables import AuditTables
from services.domain.instant import format_instant
from services.runtime.audit import AuditKind

PURGED = "hutongd purge"
"""The method in the row with which a purge records itself."""
RESTORED = "hutongd restore"
"""The method in the row that records a restore."""
BACKUPS = "backups/"
"""The beginning of the object in the row of a restore. It is followed by the name of the backup, or by the instant of
the restored state."""
_STEP = 500
"""Seals that are read at once."""


@dataclass(slots=True)
class Report:
    """What a check found.

    Attributes:
        rows: how many rows have a seal that fits.
        seals: how many seals there are.
        faults: what was changed or is missing, one sentence each.
        late: rows that a killed process left without a seal. They were sealed at the next start.
        restores: restores that the rows record. A restore loses the rows that were written after the restored copy was
            made, and the heads of their seals. These are no faults.
        unsealed: rows without a seal. In a running service they are the rows of the last second.
    """

    rows: int = 0
    seals: int = 0
    faults: list[Text] = field(default_factory=list)
    late: list[Text] = field(default_factory=list)
    restores: list[Text] = field(default_factory=list)
    unsealed: list[Text] = field(default_factory=list)


def check_audit(
    connection: Connection, tables: AuditTables, keys: AuditKeys, logged: Sequence[LoggedHead] = ()
) -> Report:
    """Check all seals and rows of one service, and that the chains have the heads in `logged`.

    `logged` are heads that are kept elsewhere. Without them the check does not notice if the newest rows were removed
    together with their seals.

    Seals of earlier versions of the pepper are checked under the keys that the store keeps. A chain never returns to an
    earlier version. A seal that was made with a stolen older key therefore does not fit after the change.
    """
    report = Report()
    keys = add_kept_keys(connection, tables, keys)
    # The writers are read before the seals. Rows that are stored after the writers were read are therefore not looked
    # for.
    writers = {row.writer_id: row for row in connection.execute(select(tables.writers))}
    sealed: dict[int, tuple[int, bytes]] = {}
    for chain in Chain:
        _check_chain(connection, tables, keys, chain, report, sealed)
    for writer_id, writer in sorted(writers.items()):
        after, digest = sealed.get(writer_id, (0, BEGINNING))
        if after < writer.newest_sequence:
            report.unsealed.append(_span(writer_id, after + 1, writer.newest_sequence))
            span = (after + 1, writer.newest_sequence)
            found = _check_rows(connection, tables, writer_id, span, digest, writer.digest)
            report.faults += found.faults
    report.faults += [fault for one in logged for fault in _check_logged(connection, tables, one)]
    report.restores = list(_find_restores(connection, tables))
    gone = sorted(sealed.keys() - writers)
    report.faults += [
        english("missing: writer {writer_id}, which has sealed rows", writer_id=writer_id) for writer_id in gone
    ]
    return report


def _find_restores(connection: Connection, tables: AuditTables) -> Iterator[Text]:
    """Yield the restores that the rows record, oldest first."""
    rows = tables.rows.c
    query = select(rows.time, rows.object).where(rows.method == RESTORED, rows.kind == int(AuditKind.CHANGE))
    for time, name in connection.execute(query.order_by(rows.time, rows.writer_id, rows.sequence)):
        yield english(
            "restored at {time} from the copy {copy}: what was recorded between the copy and the restore is lost",
            time=format_instant(time),
            copy=name.removeprefix(BACKUPS),
        )


def _check_chain(
    connection: Connection,
    tables: AuditTables,
    keys: AuditKeys,
    chain: Chain,
    report: Report,
    sealed: dict[int, tuple[int, bytes]],
) -> None:
    before: Seal | None = None
    version = 0
    for seal in _seals(connection, tables, chain):
        report.seals += 1
        number = _seal_text(seal.number, chain)
        if before is None:
            report.faults += _check_first(connection, tables, keys, seal)
        elif seal.number != before.number + 1:
            report.faults.append(
                english(
                    "missing: the seals of {chain} between {before} and {number}",
                    chain=chain.name,
                    before=before.number,
                    number=seal.number,
                )
            )
        elif seal.previous_head != before.head:
            report.faults.append(english("changed: {seal}, or the one before it", seal=number))
        of_seal = keys_of(keys, seal)
        if of_seal is None:
            report.faults.append(english("changed: {seal}, or made under a key that is not known here", seal=number))
        elif of_seal.version < version:
            report.faults.append(english("changed: {seal}, which has an older key than one before it", seal=number))
        else:
            version = of_seal.version
        known = sealed.get(seal.writer_id)
        if known is not None and known != (seal.first_sequence - 1, seal.previous_digest):
            report.faults.append(english("changed: {seal} does not go on where an earlier one ended", seal=number))
        span = (seal.first_sequence, seal.last_sequence)
        found = _check_rows(connection, tables, seal.writer_id, span, seal.previous_digest, seal.digest)
        report.faults += found.faults
        report.rows += found.rows
        if seal.late:
            report.late.append(_span(seal.writer_id, *span))
        sealed[seal.writer_id] = (seal.last_sequence, seal.digest)
        before = seal


def _seals(connection: Connection, tables: AuditTables, chain: Chain) -> Iterator[Seal]:
    """Yield the seals of a chain in order."""
    seals, after = tables.seals, 0
    while True:
        query = (
            select(seals)
            .where(seals.c.chain == int(chain), seals.c.number > after)
            .order_by(seals.c.number)
            .limit(_STEP)
        )
        found = [Seal._make(row) for row in connection.execute(query)]
        yield from found
        if len(found) < _STEP:
            return
        after = found[-1].number


def _check_logged(connection: Connection, tables: AuditTables, logged: LoggedHead) -> list[Text]:
    """Return a fault if a chain does not have a head that is kept elsewhere.

    If a purge may have removed the head's seal, there is no fault.
    """
    seals, name = tables.seals.c, _seal_text(logged.number, Chain(logged.chain))
    found = connection.execute(select(seals.head).where(seals.chain == logged.chain, seals.number == logged.number))
    head = found.scalar()
    if head is not None:
        text = english("changed: {seal}, which has another head {place}", seal=name, place=logged.place)
        return [] if bytes(head).hex() == logged.head else [text]
    newest = connection.execute(select(func.max(seals.number)).where(seals.chain == logged.chain)).scalar()
    if newest is None or newest < logged.number:
        return [english("missing: {seal}, whose head is {place}", seal=name, place=logged.place)]
    return []


def _check_first(connection: Connection, tables: AuditTables, keys: AuditKeys, seal: Seal) -> list[Text]:
    """Return a fault if the first seals of a chain are missing and no purge has recorded that it removed them."""
    if seal.number == 1:
        return []
    rows = tables.rows.c
    recorded = select(rows.object).where(
        rows.method == PURGED,
        rows.kind == int(AuditKind.CHANGE),
        rows.object.in_([purged_object(one, seal) for one in keys.versions]),
    )
    if connection.execute(recorded.limit(1)).first() is not None:
        return []
    return [
        english(
            "missing: the seals of {chain} before {number}, and no purge has recorded them",
            chain=Chain(seal.chain).name,
            number=seal.number,
        )
    ]


def purged_object(keys: AuditKeys, first_kept: Seal) -> str:
    """Return what a purge recorded about a chain: the first seal that the purge kept, and the head before that seal."""
    return f"seals/{first_kept.chain}-{first_kept.number}-{keys.hide(first_kept.previous_head.hex())}"


def _check_rows(
    connection: Connection, tables: AuditTables, writer_id: int, span: tuple[int, int], before: bytes, digest: bytes
) -> Report:
    """Return the number of rows of a writer, and the faults in them. `before` is the digest before them."""
    report = Report()
    expected, last = span
    for entry in read_entries(connection, tables, writer_id, *span):
        if entry.first > expected:
            report.faults.append(english("missing: {rows}", rows=_span(writer_id, expected, entry.first - 1)))
        before = entry.chain(before)
        expected = entry.last + 1
        report.rows += entry.last - entry.first + 1
    if expected <= last:
        report.faults.append(english("missing: {rows}", rows=_span(writer_id, expected, last)))
    if not report.faults and before != digest:
        report.faults.append(english("changed: one of {rows}", rows=_span(writer_id, *span)))
    return report


def _span(writer_id: int, first: int, last: int) -> Text:
    """Return the words that name rows of a writer in a fault."""
    if first == last:
        return english("row {writer_id}-{first}", writer_id=writer_id, first=first)
    return english("rows {writer_id}-{first} to {writer_id}-{last}", writer_id=writer_id, first=first, last=last)


def _seal_text(number: int, chain: Chain) -> Text:
    return english("seal {number} of {chain}", number=number, chain=chain.name)
