"""The store of what a node sends to the node above, and of what the node above has acknowledged."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from hutong.audit.v1.audit_head_pb2 import AuditHead
from sqlalchemy import Connection, select

from services.results.changelog.model import ChangeKind
from services.results.changelog.tables import changes
from services.results.exchange.model import WriterPosition
from services.results.exchange.recent_tubes import RecentTubes
from services.results.exchange.upstream import acknowledgements, audit_heads, outbox
from services.results.exchange.upstream.acknowledgements import AcknowledgedCommit
from services.results.exchange.upstream.outbox import Page
from services.results.exchange.withheld import note_withheld
from services.runtime.clock import Clock
from services.storage.advisory_locks import AdvisoryLock
from services.storage.engine import Database
from services.storage.life import current_life, require_life
from services.storage.process_lock import aio_try_process_lock


class UpstreamStore:
    """Reads the change log to be sent, and records acknowledgements, in the database."""

    def __init__(self, database: Database, clock: Clock, jurisdiction: str, recent: RecentTubes | None = None) -> None:
        """Create the store of a node. `recent` has what nodes below have sent to this process."""
        self._recent = recent
        self._database = database
        self._clock = clock
        self._jurisdiction = jurisdiction

    async def read_log_id(self) -> str:
        """Return the identity of this node's log. The first call creates it."""
        return await self._database.write(outbox.read_log_id)

    async def removed_positions(self) -> list[WriterPosition]:
        """Return for each writer the number of commits whose entries retention has removed."""
        return await self._database.read(outbox.removed_positions)

    async def is_of_this_log(self, positions: Sequence[WriterPosition]) -> bool:
        """Return whether the positions of the node above are of this log.

        They are not if this store is an older copy of the log.
        """
        return await self._database.read(outbox.is_of_this_log, positions)

    async def renew_log_id(self) -> None:
        """Give the log a new identity, so that the node above receives everything again."""
        await self._database.write(outbox.renew_log_id)

    async def append_registers(self) -> None:
        """Log every laboratory and every link again."""
        await self._database.write(outbox.append_registers, self._clock.now())

    async def append_contacts(self, above: str, *, has_all_labs: bool) -> None:
        """Log every laboratory again if the node above may lack their contacts, as `outbox.append_contacts`."""
        await self._database.write(outbox.append_contacts, above, self._clock.now(), has_all_labs=has_all_labs)

    async def append_withheld(self, above: str, unknown: Collection[ChangeKind]) -> None:
        """Log again what was withheld from the node above and is of a kind that the node knows now.

        `unknown` are the kinds that the node does not know.
        """
        await self._database.write(outbox.append_withheld, above, unknown, self._clock.now())

    async def note_withheld(self, above: str, kinds: Collection[ChangeKind]) -> None:
        """Remember that changes of these kinds are not sent to the node above."""
        await self._database.write(note_withheld, above, kinds)

    async def read_life(self) -> str:
        """Return the current life of the database."""
        return await self._database.read(_read_life)

    async def read_page(
        self, sent: Mapping[int, int], unknown: Collection[ChangeKind] = (), life: str | None = None
    ) -> Page:
        """Return the next commits to send. `sent` is the number of commits already sent, by writer.

        If the node above does not know the kind of a commit (`unknown`), the commit is sent without its changes.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, `life` has ended. A connection outlives a failover, and the new server
                may have given sequences that are sent already to other commits.
        """

        def work(connection: Connection) -> Page:
            if life is not None:
                require_life(life, _read_life(connection))
            return outbox.read_page(connection, sent, self._jurisdiction, unknown, self._recent)

        return await self._database.read(work)

    async def count_unacknowledged(self, acknowledged: Mapping[int, int] | None) -> int:
        """Count the unacknowledged commits.

        `acknowledged` has the positions by writer; None means the stored positions.
        """
        return await self._database.read(acknowledgements.count_unacknowledged, acknowledged)

    async def record_acknowledged(self, commits: Sequence[AcknowledgedCommit]) -> None:
        """Record that the node above has these commits."""
        await self._database.write(acknowledgements.record_acknowledged, commits)

    async def keep_audit_heads(self, heads: Sequence[AuditHead]) -> None:
        """Keep heads of this node's audits, which are sent with a checkpoint."""
        await self._database.write(audit_heads.keep_heads, heads)

    async def read_audit_heads(self) -> list[AuditHead]:
        """Return the newest heads of this node's audits."""
        return await self._database.read(audit_heads.read_heads_to_send)

    @contextlib.asynccontextmanager
    async def sending(self) -> AsyncIterator[bool]:
        """Yield whether this process is the sender of its node during the block."""
        async with aio_try_process_lock(self._database, "sender", AdvisoryLock.SENDER) as is_held:
            yield is_held


def _read_life(connection: Connection) -> str:
    life: str = connection.execute(select(current_life(connection, changes))).scalar_one()
    return life
