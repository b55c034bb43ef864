"""Tubes that are stored in columns and in groups have the effect of the same reports, sent one by one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import pytest
from hutong.exchange.v1.exchange_service_pb2 import (
    NodePosition,
    ReplicateBatch,
    ReplicateRequest,
    ReplicateResponse,
    ReplicateStart,
)
from hutong.exchange.v1.replica_pb2 import ReplicatedTubes
from hutong.type.v1.life_position_pb2 import LifePosition
from sqlalchemy import Connection, Table, insert, select

from services.domain.errors import HutongError
from services.domain.instant import HOUR, SECOND, Instant, to_timestamp
from services.domain.region import NATION
from services.results.changelog.model import Entry
from services.results.changelog.packing import unpack_positions, unpack_reports
from services.results.changelog.tables import changes
from services.results.exchange.convert.changes import fill_change
from services.results.exchange.convert.tubes import fill_tubes, tubes_from_proto
from services.results.exchange.downstream.nodes import add_node
from services.results.exchange.downstream.receiver import ReplicationReceiver
from services.results.exchange.downstream.replication.grouping import ArrivedBatch, Decoded, may_join
from services.results.exchange.downstream.store import DownstreamStore
from services.results.exchange.model import NodeLog, ReplicaTubes, SharedColumns
from services.results.exchange.recent_tubes import LONGEST, MOST_PERSONS, LoggedTubes, RecentTubes, SentTubes
from services.results.exchange.tables import nodes, replicated_lives, replicated_positions
from services.results.exchange.upstream.batching import pack
from services.results.exchange.upstream.outbox import Outgoing, Page, read_page
from services.results.records.tables import deletions, report_keys, results
from services.results.stores import Stores
from services.results.timeliness.tables import delays, last_uploads, national_delays
from services.runtime.clock import Clock
from services.runtime.consistency import LogPosition
from services.runtime.server.service import Drain
from services.storage.engine import Database
from services.storage.pepper_marks import name_versions
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, HENAN_USCC, JILIN, ZHENGZHOU
from tests.support.results.factories import NEGATIVE, NOW, OTHER_USCC, PENDING, PEPPER, POSITIVE, USCC, subject_key
from tests.support.results.store import open_laboratory

ROUNDS = int(os.environ.get("COLUMN_ROUNDS", "4"))
"""Random series of batches. COLUMN_ROUNDS sets another number."""
FAULTS: tuple[Callable[[ReplicaTubes], ReplicaTubes], ...] = (
    lambda some: some._replace(tubes=[some.tubes[0]._replace(tube_code="a\tb"), *some.tubes[1:]]),
    lambda some: some._replace(tubes=[*some.tubes[:-1], some.tubes[-1]._replace(pool_size=21)]),
    lambda some: some._replace(report_numbers=[*some.report_numbers[:-1], "R 1"]),
    lambda some: some._replace(report_numbers=["", *some.report_numbers[1:]]),
    lambda some: some._replace(report_numbers=[*some.report_numbers[:-1], "R" * 65]),
    lambda some: some._replace(lab="91410100MA0000001Y"),
    lambda some: some._replace(key_version=7),
    lambda some: some._replace(source_node=JILIN),
    lambda some: some._replace(upload_time=1),
)
"""Make tubes that no node can have sent."""


class Place(NamedTuple):
    """A node, the node below it that sends, a node below the sender, and laboratories of the sender and of another."""

    own: str
    sender: str
    below: str
    lab: str
    foreign_lab: str


PLACES = [Place(NATION, HENAN, ZHENGZHOU, OTHER_USCC, USCC), Place(HENAN, ZHENGZHOU, "410102", OTHER_USCC, HENAN_USCC)]


def _tubes(random: Random, place: Place, known: list[ReplicaTubes]) -> ReplicaTubes:
    """Return tubes with mostly new reports. Some are known with the same or another content."""
    tubes: list[SharedColumns] = []
    sizes: list[int] = []
    for _ in range(random.randint(1, 4)):
        sampled = NOW - random.choice((3, 4, 5, 30)) * HOUR
        outcome = random.choice((NEGATIVE, NEGATIVE, POSITIVE, PENDING))
        reported = None if outcome == PENDING else sampled + HOUR
        site = random.choice(("东昌区", "a\\b", ""))
        tubes.append(SharedColumns(
            f"T{random.randint(0, 999)}", random.choice((1, 5, 10)), 2, 1, outcome, "410102", site, sampled,
            random.choice((None, sampled + SECOND)), None, reported, random.choice(("", "", "sars-cov-2-antigen")),
        ))  # fmt: skip
        sizes.append(random.randint(1, 3))
    persons = sum(sizes)
    numbers = [f"R{random.randrange(10**9)}" for _ in range(persons)]
    made = ReplicaTubes(
        random.choices((place.lab, place.foreign_lab), (9, 1))[0], 1, NOW - random.randint(0, 3) * SECOND,
        random.choice((place.sender, place.below)), tubes, sizes,
        [subject_key(random.randint(0, 30)) for _ in range(persons)], numbers,
        [random.randbytes(16) for _ in range(persons)],
        [random.choice((b"", b"\x01" + random.randbytes(16))) for _ in range(persons)],
    )  # fmt: skip
    if known and random.random() < 0.15:
        return random.choice(known)
    if known and random.random() < 0.1:
        other = random.choice(known).report_numbers[0]
        made = made._replace(report_numbers=[*numbers[:-1], other])
    if persons > 1 and random.random() < 0.05:
        made = made._replace(report_numbers=[*numbers[:-1], numbers[0]])
    known.append(made)
    return made


def _batches(random: Random, place: Place) -> list[tuple[ReplicateBatch, list[ReplicaTubes]]]:
    """Return consecutive batches of a writer without their content, and the content of each. A few have none."""
    made: list[tuple[ReplicateBatch, list[ReplicaTubes]]] = []
    known: list[ReplicaTubes] = []
    offset, restored = 0, random.randint(1, 9)
    for _ in range(random.randint(3, 9)):
        batch = ReplicateBatch(writer=1, offset=offset, next_offset=offset + random.choice((0, 1, 1, 2)))
        offset = batch.next_offset
        if batch.next_offset > batch.offset:
            batch.commit_time.CopyFrom(to_timestamp(NOW - SECOND))
            batch.lives.add(life="a" if offset < restored else "b", sequence=offset)
            position = LifePosition(life="c", sequence=offset)
            batch.positions_below.append(NodePosition(node=f"nodes/{place.below}", writer=1, position=position))
        content = [_tubes(random, place, known) for _ in range(random.randint(0, 3))]
        made.append((batch, content))
    if random.random() < 0.4:
        content = [_tubes(random, place, known)]
        batch = ReplicateBatch(writer=1, offset=offset, next_offset=offset + 1)
        made.append((batch, [*content, random.choice(FAULTS)(content[0])]))
    return made


def _in_columns(batch: ReplicateBatch, content: Sequence[ReplicaTubes]) -> ReplicateRequest:
    request = ReplicateRequest(batch=batch)
    for tubes in content:
        fill_tubes(request.batch.tubes.add(), tubes)
    return request


def _in_rows(batch: ReplicateBatch, content: Sequence[ReplicaTubes]) -> ReplicateRequest:
    request = ReplicateRequest(batch=batch)
    for tubes in content:
        for replica in tubes.replicas():
            fill_change(request.batch.changes.add(), replica)
    return request


class Receiving:
    """A node that receives replications, with all rows of its tables."""

    def __init__(self, database: Database, stores: Stores, place: Place, clock: Clock, recent: RecentTubes) -> None:
        self.database = database
        self.place = place
        self.recent = recent
        self.store = DownstreamStore(
            database, clock, stores.applier, stores.partitions, place.own, None if place.own == NATION else self.recent
        )
        self._receiver = ReplicationReceiver(self.store, PEPPER, clock, Drain(), place.own)

    async def receive(self, requests: Sequence[ReplicateRequest]) -> tuple[list[tuple[int, int]], str]:
        """Receive a stream. Return the positions that were answered, and the reason of the error."""
        start = ReplicateStart(node=f"nodes/{self.place.sender}", log_id="log", send_time=to_timestamp(NOW))
        name_versions(start, PEPPER)

        async def frames() -> AsyncIterator[ReplicateRequest]:
            yield ReplicateRequest(start=start)
            for request in requests:
                yield request

        async def admit(_node: str) -> str:
            return self.place.sender

        answered: list[ReplicateResponse] = []
        try:
            async for response in self._receiver.receive(frames(), admit):
                answered.append(response)
        except HutongError as error:
            reason = type(error).__name__
        else:
            reason = ""
        return [(one.writer, one.offset) for answer in answered[1:] for one in answer.positions], reason

    async def rows(self) -> dict[str, list[Any]]:
        """Return what the tables have, without the sequences of the log."""

        def work(connection: Connection) -> dict[str, list[Any]]:
            found: dict[str, list[Any]] = {}
            for table in (results, report_keys, delays, national_delays, last_uploads, replicated_lives):
                found[table.name] = _sorted(connection, table)
            found["positions"] = _sorted(connection, replicated_positions)
            counts = select(nodes.c.node, nodes.c.conflict_count, nodes.c.not_its_own_count, nodes.c.backlog)
            found["nodes"] = sorted(map(tuple, connection.execute(counts)))
            log = connection.execute(select(changes).order_by(changes.c.writer_id, changes.c.sequence)).all()
            found["log"] = sorted((one.kind, one.lab, *name) for one in log for name in unpack_reports(one.reports))
            newest = {one[:3]: one for row in log for one in unpack_positions(row.positions_below)}
            found["positions_below"] = sorted(newest.values())
            return found

        return await self.database.read(work)


def _sorted(connection: Connection, table: Table) -> list[Any]:
    return sorted((tuple(row) for row in connection.execute(select(table))), key=repr)


@contextlib.asynccontextmanager
async def receiving(
    url: str, place: Place, horizon: Instant | None = None, now: Callable[[], Instant] = lambda: NOW
) -> AsyncIterator[Receiving]:
    """Run a node until the block ends. `now` is the clock of what is kept for its sender."""
    async with open_laboratory(url) as opened:
        joined = place.own != NATION
        stores = Stores(opened.database, opened.clock, PEPPER.secrets, place.own, joined=joined)

        def prepare(connection: Connection) -> None:
            add_node(connection, place.sender, NOW, place.own)
            if place.own == NATION:
                add_node(connection, JILIN, NOW, place.own)
            if horizon is not None:
                connection.execute(
                    insert(deletions).values(
                        deletion_id="d", horizon=horizon, result_count=0, digest="", delete_time=NOW
                    )
                )

        await opened.database.write(prepare)
        yield Receiving(opened.database, stores, place, opened.clock, RecentTubes(now))


@pytest.mark.parametrize("place", PLACES, ids=["nation", "middle"])
async def test_columns_and_groups_have_the_effect_of_rows(database_url: MakeUrl, place: Place) -> None:
    """Random batches give the same rows, counts, positions and errors, also if they come again, or are faulty."""
    for seed in range(ROUNDS):
        random = Random(seed)
        horizon = NOW - 10 * HOUR if random.random() < 0.5 else None
        batches = _batches(random, place)
        outcomes = []
        for form in (_in_columns, _in_rows):
            async with receiving(database_url("results"), place, horizon) as node:
                requests = [form(*batch) for batch in batches]
                half = len(requests) // 2
                answers = [await node.receive(requests[:half]), await node.receive(requests)]
                outcomes.append((answers, await node.rows()))
        columns, rows = outcomes
        assert columns == rows, f"seed {seed}"


@pytest.mark.parametrize("place", PLACES, ids=["nation", "middle"])
async def test_new_batches_are_one_commit_and_others_are_stored_one_by_one(database_url: MakeUrl, place: Place) -> None:
    """Of a group with a known report nothing is stored, so that each batch can be applied by itself."""
    async with receiving(database_url("results"), place) as node:
        log = NodeLog(place.sender, "log")
        stream, _ = await node.store.open_log(log, [], 0)
        group = [_arrived(node, at, [f"R{at}", f"S{at}"]) for at in range(4)]
        assert all(may_join(group[:at], group[at]) for at in range(1, 4))
        assert await node.store.apply_group(log, stream, group) == NOW
        after = await node.rows()
        assert [name for *_, name, _ in after["log"]] == [f"{letter}{at}" for letter in "RS" for at in range(4)]
        assert after["positions"] == [(place.sender, "log", 1, 4, NOW)]
        entries = await node.database.read(lambda connection: connection.execute(select(changes)).all())
        assert len(entries) == 1
        again = [_arrived(node, 4, ["R4"]), _arrived(node, 5, ["R1"])]
        assert await node.store.apply_group(log, stream, again) is None
        assert await node.rows() == after
        # The positions of these batches are durable already.
        assert await node.store.apply_group(log, stream, group[2:]) is None
        assert await node.rows() == after


def test_only_batches_in_order_without_other_changes_join() -> None:
    first, second = ReplicateBatch(writer=1, next_offset=1), ReplicateBatch(writer=1, offset=1, next_offset=2)
    other, gap = ReplicateBatch(writer=2, offset=1, next_offset=2), ReplicateBatch(writer=1, offset=2, next_offset=3)
    (replica, *_) = _one("R1").replicas()
    group = [ArrivedBatch(first, Decoded([], []))]
    assert may_join(group, ArrivedBatch(second, Decoded([], [])))
    assert not may_join(group, ArrivedBatch(second, Decoded([], [replica])))
    assert not may_join([ArrivedBatch(first, Decoded([], [replica]))], ArrivedBatch(second, Decoded([], [])))
    assert not may_join(group, ArrivedBatch(other, Decoded([], [])))
    assert not may_join(group, ArrivedBatch(gap, Decoded([], [])))


async def test_a_node_in_the_middle_hands_on_what_its_store_has(database_url: MakeUrl) -> None:
    """What has just arrived brings the same results to the node above as what is read. Each is handed on once.

    A report may be revised or replaced after it has arrived. The node above then gets both states.
    """
    middle, top = PLACES[1], PLACES[0]
    handed_on = 0
    for seed in range(ROUNDS):
        async with receiving(database_url("results"), middle) as node:
            requests = [_in_columns(*batch) for batch in _batches(Random(seed), middle)]
            for message in (one for request in requests for one in request.batch.tubes):
                if message.source_node == f"nodes/{middle.sender}":
                    # A sender may leave out its own name.
                    message.ClearField("source_node")
            await node.receive(requests)
            stored = await node.database.read(read_page, {}, middle.own)
            recent = await node.database.read(read_page, {}, middle.own, (), node.recent)
            again = await node.database.read(read_page, {}, middle.own, (), node.recent)
        handed_on += sum(bool(commit.messages) for commit in recent.commits)
        assert not any(commit.messages for commit in again.commits)
        assert [commit.entry for commit in recent.commits] == [commit.entry for commit in stored.commits]
        brought = []
        for page in (stored, recent):
            async with receiving(database_url("results"), top) as above:
                (_, error) = await above.receive([frame.request for frame in pack(page, NOW, 2_000)])
                assert error == ""
                rows = await above.rows()
                brought.append([rows[name] for name in ("results", "report_keys", "replicated_lives", "positions")])
        assert brought[0] == brought[1], f"seed {seed}"
    assert handed_on > ROUNDS


def test_a_message_that_does_not_fit_is_divided() -> None:
    """Such a message may arrive from a node with greater batches."""
    tubes = _one(*(f"R{at}" for at in range(100)))
    message = ReplicatedTubes()
    fill_tubes(message, tubes)
    small = _one("S1")
    small_message = ReplicatedTubes()
    fill_tubes(small_message, small)
    entry = Entry(1, 1, NOW, OTHER_USCC, ())
    page = Page([Outgoing(entry, [small, tubes], (), [small_message, message])], 0)
    for max_bytes, least in ((1_000, 4), (2 * message.ByteSize(), 1)):
        packed = [frame.request.batch for frame in pack(page, NOW, max_bytes)]
        assert len(packed) >= least
        arrived = [tubes_from_proto(one, JILIN) for batch in packed for one in batch.tubes]
        assert [number for one in arrived for number in one.report_numbers] == ["S1", *tubes.report_numbers]


async def test_what_is_kept_is_forgotten_and_bounded(database_url: MakeUrl) -> None:
    """Tubes are handed on only while they are new, their entry is unchanged, and there is room."""
    place = PLACES[1]
    now = NOW
    async with receiving(database_url("results"), place, now=lambda: now) as node:
        log = NodeLog(place.sender, "log")
        stream, _ = await node.store.open_log(log, [], 0)
        for at in range(3):
            await node.store.apply_batch(log, stream, _arrived(node, at, [f"R{at}"]))
        first, second, third = [one.entry for one in (await node.database.read(read_page, {}, place.own)).commits]
        assert [one.tubes.report_numbers for one in node.recent.take(first)] == [["R0"]]
        assert not node.recent.take(first)
        erased = replace(second, reports=[("", 0)])
        assert not node.recent.take(erased)
        now = NOW + LONGEST
        assert not node.recent.take(third)


def test_there_is_a_limit_on_what_is_kept() -> None:
    """The older tubes stay, because the sender reaches them first."""
    recent = RecentTubes(lambda: NOW)
    entries = []
    for sequence, persons in enumerate((MOST_PERSONS - 1, 2, 1)):
        reports = [("R", 1)] * persons
        tubes, message = _one("R"), ReplicatedTubes()
        recent.keep([LoggedTubes(LogPosition("a", 1, sequence), reports, [SentTubes(tubes, message)])])
        entries.append(Entry(1, sequence, NOW, OTHER_USCC, reports, life="a"))
    assert [bool(recent.take(entry)) for entry in entries] == [True, False, True]


def _one(*numbers: str) -> ReplicaTubes:
    """Return a tube with reports of these numbers."""
    tube = SharedColumns("T1", 10, 2, 1, NEGATIVE, "410102", "", NOW - HOUR, None, None, NOW, "")
    persons = len(numbers)
    keys = [subject_key(one) for one in range(persons)] if persons < 100 else [subject_key(1)] * persons
    return ReplicaTubes(
        OTHER_USCC, 1, NOW, ZHENGZHOU, [tube], [persons], keys, list(numbers), [b"h" * 16] * persons, [b""] * persons
    )


def _arrived(node: Receiving, offset: int, numbers: Sequence[str]) -> ArrivedBatch:
    """Return a decoded batch of one commit."""
    batch = ReplicateBatch(writer=1, offset=offset, next_offset=offset + 1, commit_time=to_timestamp(NOW))
    tubes = _one(*numbers)
    message = batch.tubes.add()
    fill_tubes(message, tubes)
    return ArrivedBatch(batch, Decoded([node.store.form_rows(tubes, message)], ()))
