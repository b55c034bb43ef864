"""Seals the writers of the audit in one hash chain, a moment after their commits.

If each transaction extended one chain over all rows, only one transaction at a time could commit. Therefore each writer
chains its own rows, and the sealer joins the digests of all writers. Until a seal covers rows, a person who can write
to the database can change them without a trace. The sealer therefore seals rows within a second after their commit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import orjson
import structlog
from prometheus_client import Counter
from sqlalchemy import Connection, func, insert, select

from services.audit.kept_keys import keep_older_key
from services.audit.keys import AuditKeys
from services.audit.model import Chain, Seal
from services.audit.rows import BEGINNING
from services.audit.tables import AuditTables
from services.domain.errors import HutongError
from services.domain.instant import MINUTE
from services.runtime.clock import Clock
from services.storage.advisory_locks import audit_lock, try_audit_lock
from services.storage.engine import Database

FAILURES = Counter("hutong_audit_seal_failures_total", "Passes that could not seal new rows of an audit", ["service"])

MOST_ALONE = 4
"""How many seals are stored one after the other. More seals are stored in one transaction."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AuditTiming:
    """Times of the sealer.

    Attributes:
        seal: seconds between two passes.
        log: microseconds between two lines of the log with the newest heads.
        report: seconds between two reports of the newest heads to Results.
        sums: seconds between two passes that store the sums of denials.
    """

    seal: float = 1.0
    log: int = MINUTE
    report: float = 60.0
    sums: float = 60.0


class _Newest(NamedTuple):
    """A writer with its newest row."""

    chain: int
    writer_id: int
    sequence: int
    digest: bytes


class _Statements:
    """Statements of PostgreSQL, each of which is its own transaction.

    By a transaction of several statements in a thread, a pass took four times the processor time.

    Attributes:
        writers: reads the writers with their newest rows, in order.
        append: inserts a seal. If another process seals, or has sealed, it inserts none.
    """

    def __init__(self, tables: AuditTables) -> None:
        writers, seals = tables.writers.name, tables.seals.name
        self.writers = (
            "SELECT chain, writer_id, newest_sequence, encode(digest, 'hex')"  # noqa: S608 - the name of a table
            f" FROM {writers} ORDER BY writer_id"
        )
        listed = ", ".join(f'"{column}"' for column in Seal._fields)
        marks = ", ".join(f"${number}" for number in range(1, len(Seal._fields) + 1))
        # Of two processes whose statements begin at one moment, the second one may not see the first one's seal yet.
        self.append = (
            f"INSERT INTO {seals} ({listed}) SELECT {marks}"  # noqa: S608 - names of a table and its columns
            f" WHERE pg_try_advisory_xact_lock({audit_lock(tables.service)})"
            f" AND coalesce((SELECT max(number) FROM {seals} WHERE chain = $1), 0) = $2 - 1 ON CONFLICT DO NOTHING"
        )


class Sealer:
    """Seals the rows of one service. Several processes of a service take turns."""

    def __init__(
        self,
        database: Database,
        tables: AuditTables,
        keys: AuditKeys,
        clock: Clock,
        timing: AuditTiming | None = None,
    ) -> None:
        self._database = database
        self._tables = tables
        self._keys = keys
        self._clock = clock
        self._timing = timing or AuditTiming()
        # The newest seals that this process knows, so that a pass without new rows costs one statement.
        self._sealed: dict[int, tuple[int, bytes]] = {}
        self._last: dict[int, Seal | None] = {}
        self._logged = 0
        self._statements = _Statements(tables)

    async def run(self) -> None:
        """Seal until cancelled. A background job.

        Some rows may be stored at the start and still have no seal one pass later. A killed process left these rows,
        and their seals say so.
        """
        left: Mapping[int, _Newest] | None = None
        is_well = True
        while True:
            try:
                if left is None:
                    # The operator may not have migrated the database yet.
                    await self._database.check()
                    if len(self._keys.versions) > 1:
                        await self._database.write(keep_older_key, self._tables, self._keys)
                    left = {one.writer_id: one for one in await self._database.read(self._read_writers)}
                else:
                    await self.seal(left)
                is_well = True
            except HutongError as error:
                FAILURES.labels(self._tables.service).inc()
                # The rows stay in the database, and are sealed when the database answers again.
                if is_well:
                    _log.warning("audit not sealed", service=self._tables.service, reason=error.reason)
                is_well = False
            await asyncio.sleep(self._timing.seal)

    async def close(self) -> None:
        """Seal the remaining rows, if the database answers."""
        with contextlib.suppress(HutongError):
            await self.seal()

    async def seal(self, left: Mapping[int, _Newest] | None = None) -> int:
        """Seal all rows that are committed. Return how many seals were made.

        `left` has, for each writer, its newest row when this process started. If a row up to that newest row has no
        seal yet, a killed process left the row, and its seal is marked as late.
        """
        seals = await self._find_next(left or {})
        if seals and not await self._store_next(seals):
            # Another process seals.
            self._sealed.clear()
            self._last.clear()
            return 0
        for seal in seals:
            self._sealed[seal.writer_id] = (seal.last_sequence, seal.digest)
            self._last[seal.chain] = seal
        self._log_heads()
        return len(seals)

    async def _find_next(self, left: Mapping[int, _Newest]) -> list[Seal]:
        """Return the next seals of all writers that have rows without a seal."""
        if self._last and not self._database.is_sqlite:
            rows = await self._database.read_alone(self._statements.writers)
            newest = [_Newest(int(a), int(b), int(c), bytes.fromhex(d.decode())) for a, b, c, d in rows]
            if all(one.writer_id in self._sealed for one in newest):
                return self._seal_all(newest, left)
        return await self._database.read(self._next_seals, left)

    def _next_seals(self, connection: Connection, left: Mapping[int, _Newest]) -> list[Seal]:
        if not self._last:
            # The newest seals are read before the writers' positions. If another process seals between the two reads,
            # the numbers of the new seals are already taken and this attempt fails.
            self._last = {chain: last_seal(connection, self._tables, chain) for chain in Chain}
        newest = self._read_writers(connection)
        for one in newest:
            if one.writer_id not in self._sealed:
                self._sealed[one.writer_id] = _sealed(connection, self._tables, one.writer_id)
        return self._seal_all(newest, left)

    def _seal_all(self, writers: Sequence[_Newest], left: Mapping[int, _Newest]) -> list[Seal]:
        """Return the next seals of writers whose sealed rows this process knows."""
        seals: list[Seal] = []
        last = dict(self._last)
        keys = {chain: self._keys_after(seal) for chain, seal in last.items()}
        for newest in writers:
            of_chain = keys[newest.chain]
            found = self._sealed[newest.writer_id]
            was_left = left.get(newest.writer_id)
            if was_left is not None and found[0] < was_left.sequence:
                seals.append(self._make(was_left, found, last[newest.chain], of_chain, late=True))
                last[newest.chain] = seals[-1]
                found = (was_left.sequence, was_left.digest)
            if found[0] < newest.sequence:
                seals.append(self._make(newest, found, last[newest.chain], of_chain, late=False))
                last[newest.chain] = seals[-1]
        return seals

    def _keys_after(self, previous: Seal | None) -> AuditKeys:
        """Return the keys for the seal that follows a given seal.

        The keys are of the pepper version under which this process writes.

        The versions of a chain never go back. If another process has sealed under a newer version, this process uses
        the newer version too.
        """
        of_previous = None if previous is None else keys_of(self._keys, previous)
        return self._keys if of_previous is None else max(self._keys, of_previous, key=attrgetter("version"))

    def _make(
        self, newest: _Newest, sealed: tuple[int, bytes], previous: Seal | None, keys: AuditKeys, *, late: bool
    ) -> Seal:
        number, head = (1, b"") if previous is None else (previous.number + 1, previous.head)
        time = self._clock.now()
        seal = Seal(
            newest.chain,
            number,
            # Only the minute is stored, as in the rows. Otherwise the seal would reveal when a person was somewhere.
            time - time % MINUTE,
            newest.writer_id,
            sealed[0] + 1,
            newest.sequence,
            late,
            sealed[1],
            newest.digest,
            head,
            b"",
        )
        return seal._replace(head=head_of(keys, seal))

    def _read_writers(self, connection: Connection) -> list[_Newest]:
        columns = self._tables.writers.c
        query = select(columns.chain, columns.writer_id, columns.newest_sequence, columns.digest)
        return [_Newest(*row) for row in connection.execute(query.order_by(columns.writer_id))]

    async def _store_next(self, seals: list[Seal]) -> bool:
        """Store seals. Return False if another process seals. A part of the seals may be stored then."""
        if self._database.is_sqlite or len(seals) > MOST_ALONE:
            return await self._database.write(self._store, seals)
        for seal in seals:
            if await self._database.write_alone(self._statements.append, seal) != 1:
                return False
        return True

    def _store(self, connection: Connection, seals: list[Seal]) -> bool:
        """Store seals. Return False if another process seals, or has sealed since this process read the chain."""
        if not try_audit_lock(connection, self._tables.service):
            return False
        first: dict[int, Seal] = {}
        for seal in seals:
            first.setdefault(seal.chain, seal)
        numbers = self._tables.seals.c
        for chain, seal in first.items():
            newest = connection.execute(select(func.max(numbers.number)).where(numbers.chain == chain)).scalar()
            if (newest or 0) != seal.number - 1:
                return False
        connection.execute(insert(self._tables.seals), [seal._asdict() for seal in seals])
        return True

    def _log_heads(self) -> None:
        """Write the newest heads to the log, which a person who changes the database may be unable to change."""
        now = self._clock.now()
        if now - self._logged < self._timing.log:
            return
        for seal in self._last.values():
            if seal is not None and seal.time >= self._logged - self._logged % MINUTE:
                _log.info(
                    "audit sealed",
                    service=self._tables.service,
                    chain=seal.chain,
                    number=seal.number,
                    head=seal.head.hex(),
                )
        self._logged = now


def head_of(keys: AuditKeys, seal: Seal) -> bytes:
    """Return the head of a seal: the keyed hash over JSON of all its other columns, with bytes as hexadecimal."""
    return keys.head(orjson.dumps(tuple(seal._replace(head=b"")), default=bytes.hex))


def keys_of(keys: AuditKeys, seal: Seal) -> AuditKeys | None:
    """Return the keys under which a seal was made, the newest version first; None if no known key fits its head."""
    return next((one for one in reversed(keys.versions) if head_of(one, seal) == seal.head), None)


def last_seal(connection: Connection, tables: AuditTables, chain: int) -> Seal | None:
    """Return the newest seal of a chain; None if it has none."""
    seals = tables.seals
    query = select(seals).where(seals.c.chain == chain).order_by(seals.c.number.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else Seal._make(row)


def _sealed(connection: Connection, tables: AuditTables, writer_id: int) -> tuple[int, bytes]:
    """Return the sequence of the last sealed row of a writer, and the writer's digest after that row."""
    seals = tables.seals.c
    query = select(seals.last_sequence, seals.digest).where(seals.writer_id == writer_id)
    row = connection.execute(query.order_by(seals.last_sequence.desc()).limit(1)).first()
    return (0, BEGINNING) if row is None else (row[0], row[1])
