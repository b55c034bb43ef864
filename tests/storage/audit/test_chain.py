"""Tests of the audit in the database: rows are numbered without a gap, and what is changed or missing is found."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
from hutong.audit.v1.audit_head_pb2 import AuditHead
from sqlalchemy import Connection, delete, func, insert, select, text, update

from services.audit.check import Report, check_audit
from services.audit.heads import HeadReporter, NotDelivered
from services.audit.keys import AuditKeys, day_of
from services.audit.model import Chain, Seal
from services.audit.packs import Pack, pack_events, unpack_events
from services.audit.queries import BEGINNING, EventFilter, Position, count_bulk_reads, find_events, list_events
from services.audit.rows import BEGINNING as HASH_BEGINNING
from services.audit.rows import chain_rows, row_text
from services.audit.sealer import AuditTiming, Sealer, head_of
from services.audit.trail import ROWS_A_MINUTE, Trail
from services.domain.errors import NotFound
from services.domain.instant import DAY, HOUR, MINUTE, SECOND
from services.domain.subject import Pepper
from services.runtime.audit import AuditEvent, AuditKind, CallAudit, Subject, current_audit, record_change
from services.runtime.caller import Caller
from services.runtime.clock import FixedClock
from services.storage.engine import Database, open_database
from services.verification.schema import audit as tables
from tests.support.databases import MakeUrl
from tests.support.waiting import until

NOW = 1_790_000_000 * SECOND
KEYS = AuditKeys.of_secret(b"s" * 32, "verification")
GATE = Caller("gate", "gates/410100/7", "410100", "ipv4:10.0.0.1:50000")
METHOD = "hutong.verification.v1.VerificationService/Verify"
PERSON, OTHER = b"p" * 16, b"o" * 16


@pytest.fixture
def database(database_url: MakeUrl) -> Iterator[Database]:
    opened = open_database(database_url("verification"))
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def trail(database: Database, clock: FixedClock) -> Trail:
    return Trail(database, tables, KEYS, "410000", clock)


@pytest.fixture
def sealer(database: Database, clock: FixedClock) -> Sealer:
    return Sealer(database, tables, KEYS, clock)


@pytest.fixture
async def call(trail: Trail) -> AsyncIterator[CallAudit]:
    """A call of a gate, which is under way during the test."""
    audit = CallAudit(trail, METHOD, "id-1", GATE, "", lambda: [Subject("", PERSON, 3, "410105")])
    token = current_audit.set(audit)
    yield audit
    current_audit.reset(token)


def read(call: CallAudit, key: bytes = PERSON) -> AuditEvent:
    return call.event(AuditKind.READ, Subject("", key, 3, "410105"), outcome="RECOGNIZED")


def check(database: Database) -> Report:
    return database.read_long_now(check_audit, tables, KEYS)


def rows_of(database: Database) -> list[Any]:
    return database.read_now(list_events, tables, EventFilter(), BEGINNING, 1_000)


async def test_rows_of_many_calls_are_there_and_numbered_without_a_gap(
    database: Database, trail: Trail, call: CallAudit, sealer: Sealer
) -> None:
    """The rows share transactions. A seal covers them afterwards."""
    await asyncio.gather(*(trail.record([read(call)]) for _ in range(50)), trail.record([read(call)] * 10))
    assert [row.sequence for row in rows_of(database)] == list(range(1, 61))
    assert check(database).unsealed == ["rows 1-1 to 1-60"]
    assert await sealer.seal() == 1
    report = check(database)
    assert (report.rows, report.seals, report.faults, report.unsealed, report.late) == (60, 1, [], [], [])


async def test_a_row_of_a_read_tells_the_minute_and_no_identity(
    database: Database, trail: Trail, call: CallAudit
) -> None:
    await trail.record([read(call)])
    (row,) = rows_of(database)
    assert row.time == NOW - NOW % MINUTE
    assert row.request_id == KEYS.hide("id-1")
    assert (row.role, row.caller, row.peer) == ("gate", "gates/410100/7", "ipv4:10.0.0.1:50000")
    assert (row.method, row.purpose, row.region, row.outcome) == (METHOD, 3, "410105", "RECOGNIZED")
    assert PERSON not in row


async def test_a_flood_of_refused_calls_is_summed_up(
    database: Database, trail: Trail, call: CallAudit, sealer: Sealer
) -> None:
    """Reads at the same time keep their own rows. The sum is chained like other rows."""
    denial = call.event(AuditKind.DENIAL, Subject("", OTHER, 3, "410105"), code=7, count=0)
    for _ in range(3):
        await asyncio.gather(*(trail.record([denial] * 500 + [read(call)]) for _ in range(2)))
    await trail.record_sums()
    stored = database.read_now(list_events, tables, EventFilter(), BEGINNING, 5_000)
    assert Counter(row.kind for row in stored) == {AuditKind.READ: 6, AuditKind.DENIAL: ROWS_A_MINUTE}
    await trail.record_sums(all_of_them=True)
    *_, newest = database.read_now(list_events, tables, EventFilter(), BEGINNING, 5_000)
    assert (newest.kind, newest.caller, newest.code, newest.item_count) == (
        AuditKind.DENIAL,
        GATE.name,
        7,
        6 * 500 - ROWS_A_MINUTE,
    )
    assert newest.subject_tag is None
    await sealer.seal()
    assert check(database).faults == []


async def test_a_change_has_its_row_exactly_if_it_is_committed(
    database: Database, call: CallAudit, sealer: Sealer
) -> None:
    """A rolled back transaction leaves neither a row nor a gap."""

    def change(connection: Connection, fails: bool) -> None:
        record_change(connection, "labs/91410100MA0000001X", count=7)
        if fails:
            raise NotFound.resource("labs/x")

    for fails in (False, True, False):
        if fails:
            with pytest.raises(NotFound):
                await database.write(change, fails)
        else:
            await database.write(change, fails)
    first, second = rows_of(database)
    assert (first.sequence, second.sequence) == (1, 2)
    assert (first.time, first.request_id, first.item_count) == (NOW, "id-1", 7)
    assert first.object == "labs/91410100MA0000001X"
    await sealer.seal()
    assert check(database).faults == []


async def test_a_change_outside_a_call_is_not_recorded(database: Database) -> None:
    await database.write(record_change)
    assert rows_of(database) == []


async def test_two_processes_use_one_database(
    database: Database, clock: FixedClock, trail: Trail, call: CallAudit, sealer: Sealer
) -> None:
    """Each takes the other's writer at its first row, notices it, and takes one of its own."""
    second = Trail(database, tables, KEYS, "410000", clock)
    for turn in range(6):
        await (trail, second)[turn % 2].record([read(call)])
    await asyncio.gather(*(one.record([read(call)]) for one in (trail, second) for _ in range(5)))
    assert len(rows_of(database)) == 16
    assert database.read_now(lambda it: it.execute(select(func.count()).select_from(tables.writers)).scalar()) == 2
    await sealer.seal()
    assert check(database).faults == []


async def test_two_sealers_make_one_chain(
    database: Database, clock: FixedClock, trail: Trail, call: CallAudit, sealer: Sealer
) -> None:
    """The second one has its own connections, as another process has."""
    elsewhere = open_database(database.engine.url.render_as_string(hide_password=False))
    other = Sealer(elsewhere, tables, KEYS, clock)
    made = 0
    for turn in range(6):
        await trail.record([read(call)])
        made += sum(await asyncio.gather(*(one.seal() for one in ((sealer, other), (other, sealer))[turn % 2])))
    made += await sealer.seal() + await other.seal()
    report = check(database)
    assert (report.seals, report.rows, report.faults, report.unsealed) == (made, 6, [], [])
    elsewhere.close()


def repack(connection: Connection, change: Callable[[list[AuditEvent]], list[AuditEvent]]) -> None:
    """Change the events of the second pack, which are 3 and 4."""
    packs = tables.packs
    (row,) = connection.execute(select(packs).where(packs.c.sequence == 3))
    events = [AuditEvent._make(event[2:]) for event in unpack_events(Pack._make(row))]
    changed = pack_events(row.writer_id, row.sequence, change(events))
    connection.execute(update(packs).where(packs.c.sequence == 3).values(changed._asdict()))


def change_event(connection: Connection) -> None:
    repack(connection, lambda events: [events[0], events[1]._replace(caller="gates/410100/8")])


def change_person(connection: Connection) -> None:
    repack(connection, lambda events: [events[0]._replace(subject_tag=b"x" * 16), events[1]])


def swap_events(connection: Connection) -> None:
    repack(connection, lambda events: events[::-1])


def delete_event(connection: Connection) -> None:
    repack(connection, lambda events: events[1:])


def delete_pack(connection: Connection) -> None:
    connection.execute(delete(tables.packs).where(tables.packs.c.sequence == 3))


def swap_packs(connection: Connection) -> None:
    """Give the first pack the number of the second, and the other way round."""
    sequence = tables.packs.c.sequence
    for old, new in ((1, 9), (3, 1), (9, 3)):
        connection.execute(update(tables.packs).where(sequence == old).values(sequence=new))


def delete_tail(connection: Connection) -> None:
    """Remove the newest sealed rows with all that points to them, but the seals."""
    delete_event(connection)
    connection.execute(delete(tables.packs).where(tables.packs.c.sequence > 3))
    connection.execute(update(tables.writers).values(newest_sequence=3))


def delete_seal(connection: Connection) -> None:
    connection.execute(delete(tables.seals).where(tables.seals.c.number == 2))


def delete_first_seals(connection: Connection) -> None:
    connection.execute(delete(tables.seals).where(tables.seals.c.number < 3))
    connection.execute(delete(tables.packs).where(tables.packs.c.sequence < 5))


def change_seal(connection: Connection) -> None:
    connection.execute(update(tables.seals).where(tables.seals.c.number == 2).values(late=True))


def forge(connection: Connection) -> None:
    """A row is replaced, and the digests after it are made anew; the heads cannot be, without the key."""
    change_event(connection)
    seals = [Seal._make(row) for row in connection.execute(select(tables.seals).order_by(tables.seals.c.number))]
    connection.execute(delete(tables.seals))
    forged = AuditKeys.of_secret(b"another secret", "verification")
    connection.execute(insert(tables.seals), [one._replace(head=forged.head(b"x"))._asdict() for one in seals])


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (change_event, ["changed: one of rows 1-3 to 1-4"]),
        (change_person, ["changed: one of rows 1-3 to 1-4"]),
        (swap_events, ["changed: one of rows 1-3 to 1-4"]),
        (delete_event, ["missing: row 1-4"]),
        (delete_pack, ["missing: rows 1-3 to 1-4"]),
        (swap_packs, ["changed: one of rows 1-1 to 1-2", "changed: one of rows 1-3 to 1-4"]),
        (delete_tail, ["missing: row 1-4", "missing: rows 1-5 to 1-6"]),
        (delete_seal, ["missing: the seals of READS between 1 and 3", "changed: seal 3 of READS does not go on"]),
        (delete_first_seals, ["missing: the seals of READS before 3, and no purge"]),
        (change_seal, ["changed: seal 2 of READS"]),
        (forge, ["changed: seal 1 of READS", "changed: seal 2 of READS", "changed: seal 3 of READS"]),
    ],
)
async def test_what_is_changed_or_missing_is_found(
    database: Database,
    trail: Trail,
    call: CallAudit,
    sealer: Sealer,
    tamper: Callable[[Connection], None],
    found: list[str],
) -> None:
    for turn in range(3):
        await trail.record([read(call)._replace(item_count=turn), read(call, OTHER)])
        await sealer.seal()
    assert check(database).faults == []
    database.write_now(tamper)
    faults = check(database).faults
    assert all(any(fault.startswith(start) for fault in faults) for start in found), faults


OLD, NEW = Pepper(b"o" * 32), Pepper(b"n" * 32, 2)
FIRST, SECOND = Pepper(OLD.secret, 1, NEW), Pepper(NEW.secret, 2, OLD)


async def seal_under(database: Database, clock: FixedClock, call: CallAudit, pepper: Pepper, person: bytes) -> None:
    """Record and seal a read as a process with this pepper."""
    keys = AuditKeys.of_pepper(pepper, "verification")
    trail = Trail(database, tables, keys, "410000", clock)
    tag = keys.subject_tag(person, day_of(NOW))
    await trail.record([read(call)._replace(subject_tag=tag)])
    sealer = Sealer(database, tables, keys, clock, AuditTiming(seal=0.01))
    job = asyncio.ensure_future(sealer.run())

    async def is_sealed() -> bool:
        return not (await database.read(check_audit, tables, keys)).unsealed

    try:
        await until(is_sealed)
    finally:
        job.cancel()


async def test_seals_and_tags_outlive_a_change_of_the_pepper(
    database: Database, clock: FixedClock, call: CallAudit
) -> None:
    """After the change the new pepper alone checks every seal, and finds what was recorded under either key."""
    persons = [bytes([index]) * 16 for index in range(4)]
    # Processes of both versions work side by side. The third seals under the newer key of the seal before.
    for pepper, person in zip((OLD, FIRST, SECOND, FIRST), persons, strict=True):
        await seal_under(database, clock, call, pepper, person)
    for pepper in (FIRST, SECOND, NEW):
        keys = AuditKeys.of_pepper(pepper, "verification")
        report = await database.read(check_audit, tables, keys)
        assert (report.faults, report.rows) == ([], 4)
        found = await database.read(find_events, tables, keys, persons, NOW)
        assert len(found) == 4
    for pepper in (OLD, Pepper(b"x" * 32, 2)):
        faults = (await database.read(check_audit, tables, AuditKeys.of_pepper(pepper, "verification"))).faults
        assert faults
        assert all("key that is not known here" in fault for fault in faults)


async def test_a_stolen_older_key_makes_no_seal_after_the_change(
    database: Database, clock: FixedClock, call: CallAudit
) -> None:
    for pepper in (FIRST, SECOND):
        await seal_under(database, clock, call, pepper, PERSON)
    stolen = AuditKeys.of_pepper(OLD, "verification")

    def forge_newest(connection: Connection) -> None:
        seals = tables.seals
        newest = [Seal._make(row) for row in connection.execute(select(seals).order_by(seals.c.number))][-1]
        again = newest._replace(number=newest.number + 1, previous_head=newest.head, previous_digest=newest.digest)
        again = again._replace(first_sequence=newest.last_sequence + 1)
        connection.execute(insert(seals).values(again._replace(head=head_of(stolen, again))._asdict()))

    database.write_now(forge_newest)
    faults = (await database.read(check_audit, tables, AuditKeys.of_pepper(NEW, "verification"))).faults
    assert any("older key than one before it" in fault for fault in faults)


async def test_what_a_killed_process_left_is_named(
    database: Database, clock: FixedClock, trail: Trail, call: CallAudit
) -> None:
    """The rows are named as unsealed, and after the next start as sealed late. Rows of the new process are not."""
    await trail.record([read(call)] * 3)
    assert check(database).unsealed == ["rows 1-1 to 1-3"]
    restarted = Sealer(database, tables, KEYS, clock, AuditTiming(seal=0.01))
    running = asyncio.create_task(restarted.run())
    await until(lambda: check(database).unsealed == [])
    await trail.record([read(call)])
    await until(lambda: check(database).unsealed == [])
    running.cancel()
    report = check(database)
    assert (report.rows, report.faults, report.late) == (4, [], ["rows 1-1 to 1-3"])


async def test_a_persons_rows_are_found_over_days(
    database: Database, clock: FixedClock, trail: Trail, call: CallAudit
) -> None:
    """Exactly these: each day has another tag."""
    for _ in range(3):
        await trail.record([read(call), read(call, OTHER)])
        clock.advance(DAY + 5 * HOUR)
    found = database.read_now(find_events, tables, KEYS, [PERSON], clock.now())
    assert [(row.sequence, row.time) for row in found] == [
        (1 + 2 * turn, NOW + turn * (DAY + 5 * HOUR) - NOW % MINUTE) for turn in range(3)
    ]
    assert len({row.subject_tag for row in rows_of(database)}) == 6
    assert len(database.read_now(find_events, tables, KEYS, [PERSON, OTHER], clock.now())) == 6
    assert database.read_now(find_events, tables, KEYS, [b"x" * 16], clock.now()) == []


async def test_reads_and_changes_have_chains_of_their_own(
    database: Database, trail: Trail, call: CallAudit, sealer: Sealer
) -> None:
    """Because they are kept for different times."""
    await trail.record([read(call)])
    await database.write(record_change)
    assert await sealer.seal() == 2
    chains = database.read_now(lambda it: it.execute(select(tables.seals.c.chain)).scalars().all())
    assert sorted(chains) == [Chain.READS, Chain.CHANGES]


async def test_reads_that_meet_are_one_row(database: Database, trail: Trail, call: CallAudit) -> None:
    """Reads of two minutes are two, because a row has one minute."""
    later = read(call)._replace(time=NOW - NOW % MINUTE + MINUTE)
    await asyncio.gather(trail.record([read(call)] * 3), trail.record([later, read(call)]))
    packs = tables.packs.c
    query = select(packs.sequence, packs.event_count, packs.time).order_by(packs.sequence)
    stored = database.read_now(lambda it: it.execute(query).all())
    assert [(one.sequence, one.event_count) for one in stored] == [(1, 4), (5, 1)]
    assert [event.time for event in rows_of(database)] == [stored[0].time] * 4 + [stored[1].time]


async def test_pages_and_filters_reach_into_packs(database: Database, trail: Trail, call: CallAudit) -> None:
    """Pages end in the middle of packs, and changes are listed between the reads."""
    other = CallAudit(trail, METHOD, "id-2", Caller("gate", "gates/220500/1", "220500"), "", lambda: [Subject()])
    for _ in range(3):
        elsewhere = other.event(AuditKind.DENIAL, Subject("", OTHER, 3, "220502"), code=7, count=0)
        await trail.record([read(call), elsewhere, read(call, OTHER)])
    await trail.record([read(call)])
    await database.write(record_change)
    everything = rows_of(database)
    assert len(everything) == 11
    paged, after = [], BEGINNING
    while page := database.read_now(list_events, tables, EventFilter(), after, 2):
        paged += page
        after = Position(page[-1].time, page[-1].writer_id, page[-1].sequence)
    assert paged == everything

    def found(**wanted: Any) -> list[Any]:
        return database.read_now(list_events, tables, EventFilter(**wanted), BEGINNING, 100)

    assert found(kinds=(3,)) == found(region="220000") == found(caller="gates/220500/1") == everything[1:9:3]
    assert found(kinds=(2,)) == [event for event in everything if event.kind == AuditKind.CHANGE]
    assert found(region="410100", caller="gates/220500/1") == []
    assert found(region="000000", start_time=NOW - MINUTE) == everything
    assert found(end_time=NOW - MINUTE) == []
    assert database.read_now(count_bulk_reads, tables) == []


async def test_rows_of_reads_from_before_packing_stay_readable(
    database: Database, trail: Trail, call: CallAudit, sealer: Sealer
) -> None:
    """The writer goes on with packs, under one chain."""

    def store_as_before(connection: Connection) -> None:
        text = row_text(1, 1, read(call))
        digest = chain_rows(HASH_BEGINNING, [text])
        connection.execute(insert(tables.writers).values(writer_id=1, chain=1, newest_sequence=1, digest=digest))
        connection.execute(insert(tables.rows).values(writer_id=1, sequence=1, **read(call)._asdict()))

    await database.write(store_as_before)
    await trail.record([read(call), read(call, OTHER)])
    await sealer.seal()
    report = check(database)
    assert (report.rows, report.seals, report.faults) == (3, 1, [])
    assert [event.sequence for event in rows_of(database)] == [1, 2, 3]
    assert len(database.read_now(find_events, tables, KEYS, [PERSON], NOW)) == 2


async def test_a_failed_write_leaves_the_chain_whole(
    database: Database, trail: Trail, call: CallAudit, sealer: Sealer
) -> None:
    """If a function that takes part in the transaction fails, the transaction fails.

    The next one continues from what is stored.
    """
    await trail.record([read(call)])

    def fail(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))
        raise NotFound.resource("labs/x")

    with pytest.raises(NotFound):
        await trail.record([read(call)], fail)
    await trail.record([read(call)])
    assert [row.sequence for row in rows_of(database)] == [1, 2]
    await sealer.seal()
    assert check(database).faults == []


async def test_the_newest_heads_are_handed_over(
    trail: Trail, sealer: Sealer, call: CallAudit, database: Database
) -> None:
    """Again after Results has refused them, with the heads of that moment."""
    await trail.record([read(call)])
    await sealer.seal()
    taken: list[list[tuple[str, int, int]]] = []

    async def deliver(heads: Sequence[AuditHead]) -> None:
        taken.append([(head.service, int(head.chain), head.number) for head in heads])
        if len(taken) == 1:
            await trail.record([read(call)])
            await sealer.seal()
            raise NotDelivered("not now")

    job = asyncio.create_task(HeadReporter(database, tables, deliver, 0.01).run())
    await until(lambda: len(taken) > 1)
    job.cancel()
    assert taken[:2] == [[("verification", Chain.READS, 1)], [("verification", Chain.READS, 2)]]
