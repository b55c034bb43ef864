"""What a node knows of the nodes below, and the batches that they replicate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hutong.exchange.v1.exchange_service_pb2 import ReplicateBatch
from sqlalchemy import Connection

from services.domain.instant import Instant, Span, from_timestamp
from services.domain.region import NATION
from services.results.exchange.apply import ChangeApplier, form_tubes
from services.results.exchange.downstream import nodes
from services.results.exchange.model import Change, Node, NodeLog, Replica, ReplicaTubes, WriterPosition
from services.results.exchange.result_writer import Arrival, FormedTubes
from services.results.records.partition_maintainer import PartitionMaintainer
from services.results.records.row_format import row_form
from services.runtime.clock import Clock
from services.storage.engine import Database


class Decoded(NamedTuple):
    """What a replicated batch holds."""

    tubes: Sequence[FormedTubes]
    changes: Sequence[Change]


class DownstreamStore:
    """Nodes below, and what they replicate, in the database."""

    def __init__(
        self, database: Database, clock: Clock, applier: ChangeApplier, partitions: PartitionMaintainer
    ) -> None:
        self._database = database
        self._clock = clock
        self._applier = applier
        self._partitions = partitions
        self._form = row_form(database.engine.dialect.name)

    async def list_nodes(self) -> list[Node]:
        """The nodes that replicate to this one."""
        return await self._database.read(nodes.list_nodes)

    async def page_nodes(self, after: str, limit: int) -> list[Node]:
        """The same by region, from the one after `after` on."""
        return await self._database.read(nodes.page_nodes, after, limit)

    async def open_log(self, log: NodeLog, removed: Sequence[WriterPosition], skew: Span) -> list[WriterPosition]:
        """How far a node's writers are known here."""
        return await self._database.write(nodes.open_log, log, removed, skew, self._clock.now())

    async def note_checkpoint(self, region: str, as_of_time: Instant | None, backlog: int, skew: Span | None) -> None:
        """Take a node's heartbeat down."""
        await self._database.write(nodes.note_checkpoint, region, as_of_time, backlog, skew, self._clock.now())

    def form_rows(self, tubes: ReplicaTubes) -> FormedTubes:
        """Tubes ready to be stored here. Needs no database: for a thread beside the one that stores."""
        return form_tubes(self._form, tubes)

    async def apply_batch(self, log: NodeLog, batch: ReplicateBatch, decoded: Decoded) -> tuple[int, Instant]:
        """Make a batch that holds this durable: how many of its writer's commits are now, and since when.

        Raises:
            OutOfRange: UPLOAD_GAP, the batch begins beyond what is committed.
        """
        filed = [change.result.reference_time for change in decoded.changes if isinstance(change, Replica)]
        await self._partitions.prepare(
            [*filed, *(time for formed in decoded.tubes for time in formed.tubes.reference_times())]
        )
        now = self._clock.now()
        committed, conflict_count = await self._database.write(self._apply, log, batch, decoded, now)
        if conflict_count:
            # Apart: notifications take nodes' rows in an order of their own.
            await self._database.write(nodes.note_conflicts, log.node, conflict_count)
        return committed, now

    def _apply(
        self, connection: Connection, log: NodeLog, batch: ReplicateBatch, decoded: Decoded, now: Instant
    ) -> tuple[int, int]:
        """How many commits are durable now, and how many reports stand already as another node sent them."""
        conflict_count = 0
        committed = nodes.lock_position(connection, log, batch.writer)
        if batch.offset > committed:
            raise nodes.replication_gap(committed, batch.offset)
        # Beyond its complete commits a batch may hold a part of the next one: that is durable once a later one is.
        if batch.next_offset >= committed:
            applied = self._applier.apply(connection, decoded.changes, Arrival(NATION, log.node, now), decoded.tubes)
            conflict_count = applied.conflict_count
        if batch.next_offset > committed:
            committed = batch.next_offset
            commit_time = from_timestamp(batch.commit_time) if batch.HasField("commit_time") else None
            nodes.move_position(connection, log, WriterPosition(batch.writer, committed, commit_time))
        return committed, conflict_count
