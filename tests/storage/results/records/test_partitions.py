"""Making partitions of PostgreSQL neither blocks readers and writers nor waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text

from services.domain.errors import Unavailable
from services.domain.instant import DAY
from services.results.records.partitions import list_partitions
from services.results.timing import ResultsTiming
from tests.support.databases import MakeUrl
from tests.support.results.factories import REPORTED, make_tube
from tests.support.results.store import Laboratory, counts, open_laboratory, remove_months

WITHOUT_WAITING = 10.0
"""More seconds than any call takes that does not wait for another transaction."""


@pytest.fixture
async def laboratory(postgres_url: MakeUrl) -> AsyncIterator[Laboratory]:
    async with open_laboratory(postgres_url("results")) as opened:
        remove_months(opened.database)
        yield opened


def names(laboratory: Laboratory) -> list[str]:
    return [partition.name for partition in laboratory.database.read_now(list_partitions)]


async def test_a_month_is_made_beside_a_long_reader_and_a_long_writer(laboratory: Laboratory) -> None:
    """A report of an older month arrives while all results are being read. Neither waits for the other."""
    await laboratory.send([make_tube(0)])
    engine = laboratory.database.engine
    with engine.connect() as reader, engine.connect() as writer:
        reader.execute(text("SELECT count(*) FROM results"))
        writer.execute(text("UPDATE results SET state = state"))
        older = laboratory.send([make_tube(1, reported=REPORTED - 60 * DAY)], upload_id="v")
        assert counts(await asyncio.wait_for(older, WITHOUT_WAITING)) == (1, 1, 0, 0)
        assert sorted(await asyncio.wait_for(laboratory.numbers(), WITHOUT_WAITING)) == ["R0", "R1"]
    assert names(laboratory) == ["results_2022_06", "results_2022_08"]


async def test_a_month_that_cannot_be_made_holds_up_its_own_upload_alone(laboratory: Laboratory) -> None:
    """Another transaction changes the table. Only this upload is refused with a retry; other calls go on."""
    timing = ResultsTiming(partition_tries=2, partition_try_pause=0.0)
    laboratory = Laboratory(laboratory.database, laboratory.clock, timing=timing)
    await laboratory.send([make_tube(0)])
    older = make_tube(1, reported=REPORTED - 60 * DAY)
    with laboratory.database.engine.connect() as other:
        other.execute(text("LOCK TABLE results IN SHARE UPDATE EXCLUSIVE MODE"))
        with pytest.raises(Unavailable) as caught:
            await asyncio.wait_for(laboratory.send([older], upload_id="v"), WITHOUT_WAITING)
        assert (caught.value.reason, caught.value.retry_after is None) == ("DATABASE_UNAVAILABLE", False)
        assert counts(await asyncio.wait_for(laboratory.send([make_tube(2)], upload_id="w"), WITHOUT_WAITING)) == (
            1,
            1,
            0,
            0,
        )
    assert counts(await laboratory.send([older], upload_id="v")) == (1, 1, 0, 0)


async def test_months_are_made_once_by_many_at_once(laboratory: Laboratory) -> None:
    """Several processes need a new month at the same time."""
    url = laboratory.database.engine.url.render_as_string(hide_password=False)
    async with open_laboratory(url) as second, open_laboratory(url) as third:
        processes = enumerate((laboratory, second, third))
        await asyncio.gather(
            *(
                one.send([make_tube(index, reported=REPORTED - 90 * DAY)], upload_id=f"u{index}")
                for index, one in processes
            )
        )
    assert names(laboratory) == ["results_2022_05"]
    assert sorted(await laboratory.numbers()) == ["R0", "R1", "R2"]


async def test_a_month_has_the_index_of_all(laboratory: Laboratory) -> None:
    """Look-ups use it in every month, and for the planner it is part of the table's index."""
    await laboratory.send([make_tube(0)])
    query = text(
        "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent"
        " WHERE c.relname = 'ix_results_subject_key_reference_time'"
    )
    assert laboratory.database.read_now(lambda connection: connection.execute(query).scalar()) == 1


async def test_look_ups_go_by_the_index_of_a_month_that_is_known_to_be_empty(laboratory: Laboratory) -> None:
    """Plans are cached. A plan that scans the whole month would stay in use after the month has filled."""
    await laboratory.send([make_tube(0)])
    with laboratory.database.engine.begin() as connection:
        connection.execute(text("DELETE FROM results"))
        connection.execute(text("ANALYZE results"))
    look_up = text(r"EXPLAIN SELECT * FROM results WHERE subject_key = '\x00' ORDER BY reference_time DESC LIMIT 200")

    def plan(connection: Connection) -> str:
        return "\n".join(connection.execute(look_up).scalars())

    with laboratory.database.engine.connect() as elsewhere:
        assert "Seq Scan on results_2022_08" in plan(elsewhere)
    assert "Seq Scan" not in laboratory.database.read_now(plan)
