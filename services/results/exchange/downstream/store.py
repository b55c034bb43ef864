"""The store of the nodes below this one and of the batches that they replicate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import structlog
from hutong.audit.v1.audit_head_pb2 import AuditHead
from hutong.exchange.v1.exchange_service_pb2 import ReplicateCheckpoint
from hutong.exchange.v1.replica_pb2 import ReplicatedTubes
from prometheus_client import Counter
from sqlalchemy import Connection

from services.domain.errors import Unavailable
from services.domain.instant import Instant, Span, from_timestamp
from services.domain.names import format_node
from services.domain.region import NATION
from services.results.changelog.lives import find_lost
from services.results.exchange.apply import ChangeApplier, NotAllNew, form_tubes
from services.results.exchange.arrival import Applied, Arrival, FormedTubes
from services.results.exchange.downstream import audit_heads, nodes
from services.results.exchange.downstream.audit_heads import HeadPosition, HeldHead
from services.results.exchange.downstream.relayed import (
    RelayedNode,
    list_positions,
    list_relayed,
    page_relayed,
    record_positions,
    record_relayed,
)
from services.results.exchange.downstream.replication import lives
from services.results.exchange.downstream.replication.grouping import ArrivedBatch, merge
from services.results.exchange.downstream.replication.streams import Stream, begin_stream, require_current
from services.results.exchange.lab_answers import count_dropped
from services.results.exchange.model import Node, NodeLog, Replica, ReplicaTubes, WriterPosition
from services.results.exchange.recent_tubes import LoggedTubes, RecentTubes
from services.results.records.partition_maintainer import PartitionMaintainer
from services.runtime.audit import record_change
from services.runtime.clock import Clock
from services.runtime.consistency import CommitPosition, LogPosition
from services.storage.engine import Database

DIFFERING_HEADS = Counter(
    "hutong_audit_heads_differing_total", "Heads of a node's audits that differ from held ones", ["node", "service"]
)
SET_ASIDE = Counter("hutong_replicated_set_aside_total", "Changes of nodes that were set aside", ["node", "reason"])
_REASONS = {"not_its_own_count": "NOT_ITS_OWN", "second_registration_count": "SECOND_REGISTRATION"}
"""The reason why changes were set aside, by the column that counts them."""
_log = structlog.get_logger(__name__)


class _Stored(NamedTuple):
    """The outcome of a transaction that stores a batch.

    Attributes:
        committed: how many commits of the writer are durable now.
        counts: what to add to the counts of nodes, by node and column.
        dropped_answer_count: answers of laboratories that were not stored.
        logged_tubes: tubes that this node sends on.
    """

    committed: int
    counts: dict[tuple[str, str], int]
    dropped_answer_count: int
    logged_tubes: Sequence[LoggedTubes]


def _count(applied: Applied) -> int:
    """Return how many results are new."""
    return len(applied.stored) + sum(len(tubes.report_numbers) for tubes in applied.tubes)


class DownstreamStore:
    """Stores the nodes below this one and the batches that they replicate."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        applier: ChangeApplier,
        partitions: PartitionMaintainer,
        own: str = NATION,
        recent: RecentTubes | None = None,
    ) -> None:
        """Create the store of a node, whose region is `own`. `recent` keeps what a node in the middle sends on."""
        self._own = own
        self._recent = recent
        self._database = database
        self._clock = clock
        self._applier = applier
        self._partitions = partitions
        self._dialect = database.engine.dialect.name

    async def list_nodes(self) -> list[Node]:
        """Return the nodes that ever replicated to this one, by region."""
        return await self._database.read(nodes.list_nodes)

    async def page_nodes(self, after: str, limit: int) -> list[Node | tuple[RelayedNode, Node]]:
        """Return at most `limit` nodes at any depth by region, beginning after the region `after`.

        A node at a greater depth has the node that relays it beside it.
        """

        def work(connection: Connection) -> list[Node | tuple[RelayedNode, Node]]:
            by_region: dict[str, Node | tuple[RelayedNode, Node]] = {
                one[0].region: one for one in page_relayed(connection, after, limit)
            }
            by_region |= {node.region: node for node in nodes.page_nodes(connection, after, limit)}
            return [one for _, one in sorted(by_region.items())][:limit]

        return await self._database.read(work)

    async def find_unmet(self, commits: Collection[CommitPosition]) -> dict[CommitPosition, bool]:
        """Return the commits that are not here, each with whether it may still come."""
        return await self._database.read(lives.find_unmet, commits)

    async def find_lost(self, positions: Collection[LogPosition]) -> set[LogPosition]:
        """Return the given positions of this node's own log whose commits a restore has lost."""
        return await self._database.read(find_lost, positions)

    async def open_log(
        self, log: NodeLog, removed: Sequence[WriterPosition], skew: Span
    ) -> tuple[Stream, list[WriterPosition]]:
        """Begin a stream. Return it and the durable positions of the log's writers.

        `removed` are commits that the node can no longer send.
        """

        def work(connection: Connection) -> tuple[Stream, list[WriterPosition]]:
            stream = begin_stream(connection, log.node)
            return stream, nodes.open_log(connection, log, removed, skew, self._clock.now(), self._own)

        return await self._database.write(work)

    async def list_relayed(self) -> list[RelayedNode]:
        """Return the nodes at a greater depth below this one, by region."""
        return await self._database.read(list_relayed)

    async def record_checkpoint(
        self,
        region: str,
        stream: Stream,
        as_of_time: Instant | None,
        skew: Span | None,
        checkpoint: ReplicateCheckpoint,
    ) -> None:
        """Record a node's checkpoint; `as_of_time` and `skew` are None while it has a backlog.

        Raises:
            Unavailable: STREAM_REPLACED, the node has begun another stream.
        """
        now = self._clock.now()

        def work(connection: Connection) -> None:
            if as_of_time is not None:
                require_current(connection, region, stream)
                record_positions(connection, region, checkpoint.positions_below)
                record_relayed(connection, region, checkpoint.nodes_below, now, self._own)
            nodes.record_checkpoint(connection, region, as_of_time, checkpoint.backlog, skew, now)

        await self._database.write(work)

    async def hold_audit_heads(self, region: str, heads: Sequence[AuditHead]) -> None:
        """Keep the heads of a node's audits.

        If a second, different head of one seal arrives, it is logged and not kept.
        """
        for head in await self._database.write(audit_heads.hold_heads, region, heads, self._clock.now()):
            DIFFERING_HEADS.labels(region, head.service).inc()
            _log.error(
                "a node has sent another head of its audit than before",
                node=region,
                service=head.service,
                chain=head.chain,
                number=head.number,
            )

    async def page_audit_heads(self, region: str, after: HeadPosition, limit: int) -> list[HeldHead]:
        """Return at most `limit` heads of a node's audits after a position."""
        return await self._database.read(audit_heads.list_heads, region, after, limit)

    def form_rows(self, tubes: ReplicaTubes, message: ReplicatedTubes) -> FormedTubes:
        """Form the rows of tubes, which arrived in a message.

        Forming rows needs no database, so a thread can do it while an earlier batch is stored.
        """
        return form_tubes(self._dialect, tubes, message)

    async def apply_batch(self, log: NodeLog, stream: Stream, arrived: ArrivedBatch) -> tuple[int, Instant]:
        """Store a batch. Return how many commits of its writer are durable now, and the time of the transaction.

        Raises:
            Unavailable: STREAM_REPLACED, the node has begun another stream.
            OutOfRange: UPLOAD_GAP, the batch begins beyond what is committed.
            Unavailable: the database does not answer.
        """
        return await self._write(log, stream, arrived, all_new=False)

    async def apply_group(self, log: NodeLog, stream: Stream, group: Sequence[ArrivedBatch]) -> Instant | None:
        """Store batches that may be grouped, in one transaction. Return the time of the transaction.

        Return None if nothing was stored, because the batches must be applied one by one.

        Raises:
            Unavailable: STREAM_REPLACED, the node has begun another stream; or the database does not answer, and the
                transaction may or may not have been committed.
        """
        try:
            _, now = await self._write(log, stream, merge(group), all_new=True)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - the batch that fails, and only this batch, fails again by itself
            level = "debug" if isinstance(error, NotAllNew) else "warning"
            getattr(_log, level)("replicated batches are applied one by one", error=type(error).__name__)
            return None
        return now

    async def _write(
        self, log: NodeLog, stream: Stream, arrived: ArrivedBatch, *, all_new: bool
    ) -> tuple[int, Instant]:
        decoded = arrived.decoded
        reference_times = [change.result.reference_time for change in decoded.changes if isinstance(change, Replica)]
        await self._partitions.prepare(
            [*reference_times, *(time for formed in decoded.tubes for time in formed.tubes.reference_times())]
        )
        now = self._clock.now()
        stored = await self._database.write(self._apply, log, stream, arrived, now, all_new=all_new)
        if self._recent is not None:
            self._recent.keep(stored.logged_tubes)
        count_dropped(stored.dropped_answer_count)
        if stored.counts:
            # The counts have their own transaction, because notifications lock the rows of nodes in a fixed order.
            await self._database.write(nodes.add_counts, stored.counts)
        for (node, column), count in stored.counts.items():
            if reason := _REASONS.get(column):
                SET_ASIDE.labels(node, reason).inc(count)
        return stored.committed, now

    def _apply(
        self,
        connection: Connection,
        log: NodeLog,
        stream: Stream,
        arrived: ArrivedBatch,
        now: Instant,
        *,
        all_new: bool,
    ) -> _Stored:
        """Store a batch inside a transaction.

        Raises:
            NotAllNew: only if `all_new` is set, and not everything in the batch is new.
        """
        batch, decoded = arrived
        counts: dict[tuple[str, str], int] = {}
        applied = Applied()
        require_current(connection, log.node, stream)
        committed = nodes.lock_position(connection, log, batch.writer)
        if batch.offset > committed:
            raise nodes.replication_gap(committed, batch.offset)
        if all_new and batch.offset < committed:
            raise NotAllNew
        # A batch may end with a part of its next commit. That commit counts as durable when a later batch completes it.
        if batch.next_offset >= committed:
            completes = batch.next_offset > committed
            applied = self._applier.apply(
                connection,
                decoded.changes,
                Arrival(self._own, log.node, now),
                decoded.tubes,
                list_positions(connection, log.node, batch) if completes else (),
                all_new=all_new,
            )
            counts = {(node, "not_its_own_count"): count for node, count in applied.not_its_own.items()}
            counts[log.node, "conflict_count"] = applied.conflict_count
            counts[log.node, "second_registration_count"] = applied.second_registration_count
        if batch.next_offset > committed:
            committed = batch.next_offset
            commit_time = from_timestamp(batch.commit_time) if batch.HasField("commit_time") else None
            nodes.move_position(connection, log, WriterPosition(batch.writer, committed, commit_time))
            lives.record_reached(connection, log.node, batch.writer, {one.life: one.sequence for one in batch.lives})
            record_positions(connection, log.node, batch.positions_below)
            record_change(connection, format_node(log.node), count=_count(applied))
        counts = {key: count for key, count in counts.items() if count}
        return _Stored(committed, counts, applied.dropped_answer_count, applied.logged_tubes)
