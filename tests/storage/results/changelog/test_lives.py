"""Positions of commits: each writer counts by itself, and a restored store takes no lost commit for a known one."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from services.domain.errors import Unavailable
from services.domain.instant import DAY, HOUR
from services.results.changelog.append import append_barrier, append_entry
from services.results.changelog.lives import find_lost
from services.results.changelog.log import list_writers, read_entries, remove_entries
from services.results.changelog.model import ChangeKind
from services.results.exchange.downstream.replication.lives import find_unmet, record_reached
from services.results.exchange.downstream.replication.streams import begin_stream, require_current
from services.results.exchange.upstream.store import UpstreamStore
from services.runtime.consistency import BEFORE_ANY, CommitPosition, LogPosition
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.restored import Copy
from tests.support.results.factories import NOW, USCC, make_tube
from tests.support.results.store import Laboratory, open_laboratory

JILIN = "220000"


def found(laboratory: Laboratory, *positions: LogPosition) -> bool:
    """Return whether the store holds all of these commits."""
    return not laboratory.database.read_now(find_lost, positions)


async def test_every_commit_is_found_by_its_position_and_no_other_is(laboratory: Laboratory) -> None:
    """Two transactions at the same time are of two writers, each with a sequence of its own."""
    uploaded = (await laboratory.send([make_tube(0)])).position
    engine = laboratory.database.engine
    if laboratory.dialect == "postgresql":
        with engine.begin() as first, engine.begin() as second:
            one = append_entry(first, USCC, [("A", 1)], NOW)
            other = append_entry(second, USCC, [("B", 1)], NOW)
        assert one is not None
        assert other is not None
        assert (one.writer, one.sequence) == (uploaded.writer, 2)
        assert (other.writer, other.sequence) != (one.writer, one.sequence)
        assert found(laboratory, one, other)
    assert found(laboratory, uploaded, BEFORE_ANY)
    assert not found(laboratory, uploaded._replace(sequence=9))
    assert not found(laboratory, uploaded._replace(writer=uploaded.writer + 7))
    assert not found(laboratory, uploaded._replace(life="another"))


async def test_a_repeated_batch_gets_a_position_after_everything_before_it(laboratory: Laboratory) -> None:
    """Persons of the batch may be in commits of other writers.

    The repeat is therefore logged, with an entry without results.
    """
    first = await laboratory.send([make_tube(0)])
    again = await laboratory.send([make_tube(0)], upload_id="another")
    assert again.duplicate_count == 1
    assert again.position != first.position
    assert found(laboratory, again.position)
    newest = laboratory.database.read_now(read_entries, {})[-1]
    assert (newest.kind, newest.reports) == (ChangeKind.BARRIER, [])
    assert not (await laboratory.stores.watch.read_changes({}, NOW, 10)).slices[-1].results


async def test_a_commit_that_retention_removed_is_still_found(laboratory: Laboratory) -> None:
    old = await laboratory.database.write(append_entry, USCC, [("R0", 1)], NOW - 2 * DAY)
    new = await laboratory.database.write(append_entry, USCC, [("R1", 1)], NOW)
    assert old is not None
    assert new is not None
    for writer in laboratory.database.read_now(list_writers):
        assert laboratory.database.write_now(remove_entries, writer, NOW - HOUR)[0] == 1
    assert found(laboratory, old, new)
    assert not found(laboratory, old._replace(life="another"))


@pytest.mark.parametrize("written_since", [0, 1])
async def test_a_restored_store_lacks_what_it_lost_whatever_it_wrote_since(
    tmp_path: Path, sqlite_url: MakeUrl, written_since: int
) -> None:
    """The sequence of the lost commit is given out again, in another life."""
    url = sqlite_url("results")
    database = open_database(url)
    kept = database.write_now(append_entry, USCC, [("R0", 1)], NOW)
    copy = Copy(url, tmp_path / "copy")
    lost = database.write_now(append_entry, USCC, [("R1", 1)], NOW)
    database.close()
    copy.restore()
    database = open_database(url)
    for _ in range(written_since):
        position = database.write_now(append_barrier, NOW)
        assert lost is not None
        assert position[1:] == lost[1:]
        assert position.life != lost.life
    assert kept is not None
    assert lost is not None
    assert database.read_now(find_lost, [kept, lost]) == {lost}
    database.close()


async def test_a_batch_of_an_earlier_stream_is_refused(laboratory: Laboratory) -> None:
    """The node may have been restored since, so that the batch is of a log which is no longer sent."""
    write = laboratory.database.write_now
    first = write(begin_stream, JILIN)
    write(require_current, JILIN, first)
    second = write(begin_stream, JILIN)
    write(begin_stream, "410000")
    write(require_current, JILIN, second)
    with pytest.raises(Unavailable) as caught:
        write(require_current, JILIN, first)
    assert caught.value.reason == "STREAM_REPLACED"


async def test_a_stream_ends_once_the_database_may_have_been_restored(
    postgres_url: MakeUrl,
) -> None:
    """On PostgreSQL another table stands for a server that took over. Connections outlive it."""
    async with open_laboratory(postgres_url("results")) as laboratory:
        write = laboratory.database.write_now
        stream = write(begin_stream, JILIN)
        write(require_current, JILIN, stream)

        def take_over(connection: Connection) -> None:
            for statement in (
                "CREATE TABLE later (LIKE replication_streams INCLUDING ALL)",
                "INSERT INTO later SELECT * FROM replication_streams",
                "DROP TABLE replication_streams",
                "ALTER TABLE later RENAME TO replication_streams",
            ):
                connection.execute(text(statement))

        write(take_over)
        with pytest.raises(Unavailable) as caught:
            write(require_current, JILIN, stream)
        assert caught.value.reason == "DATABASE_UNAVAILABLE"
        write(require_current, JILIN, write(begin_stream, JILIN))


async def test_a_sender_reads_no_page_in_another_life_of_its_database(laboratory: Laboratory) -> None:
    """A commit of another life may have a sequence that counts as sent."""
    store = UpstreamStore(laboratory.database, laboratory.clock, JILIN)
    await laboratory.send([make_tube(0)])
    assert len((await store.read_page({}, (), await store.read_life())).commits) == 1
    with pytest.raises(Unavailable) as caught:
        await store.read_page({}, (), "before the failover")
    assert caught.value.reason == "DATABASE_UNAVAILABLE"


def at(sequence: int, life: str, writer: int = 1) -> CommitPosition:
    """A position in Jilin's log."""
    return CommitPosition("results", JILIN, LogPosition(life, writer, sequence))


async def test_the_nation_knows_what_it_has_of_each_life_and_what_cannot_come_any_more(laboratory: Laboratory) -> None:
    """A node that was restored sends earlier commits again. No position moves back by that."""
    write, read = laboratory.database.write_now, laboratory.database.read_now
    assert read(find_unmet, [at(0, "a")]) == {}
    assert read(find_unmet, [at(1, "a")]) == {at(1, "a"): True}
    write(record_reached, JILIN, 1, {"a": 3})
    write(record_reached, JILIN, 2, {"a": 7})
    wanted = [at(3, "a"), at(4, "a"), at(7, "a", 2), at(1, "a", 3), CommitPosition("results", "410000", at(1, "a")[2])]
    assert set(read(find_unmet, wanted)) == {wanted[1], wanted[3], wanted[4]}
    assert all(read(find_unmet, wanted).values())
    write(record_reached, JILIN, 1, {"a": 2, "b": 4})
    assert read(find_unmet, [at(3, "a"), at(4, "b")]) == {}
    assert read(find_unmet, [at(4, "a"), at(5, "b"), at(1, "c")]) == {
        at(4, "a"): False,
        at(5, "b"): True,
        at(1, "c"): True,
    }
