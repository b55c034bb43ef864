"""Compares look-ups in a large store with look-ups in a small one: the same persons, with five results each.

Look-ups during a rotation of the key are compared with those without, by CPU time.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import psutil
import psycopg
from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.type.v1 import identity_pb2
from sqlalchemy import Connection, insert, make_url

from services.domain.document import canonical_document
from services.domain.instant import DAY, HOUR, MINUTE, SECOND, Instant
from services.domain.subject import Pepper
from services.results.lookup.lookup import LookupHandler
from services.results.lookup.nationwide import NationwideLookup
from services.results.lookup.subjects import find_newest
from services.results.records.partitions import make_partitions, months_of
from services.results.records.tables import results
from services.results.stores import Stores
from services.runtime.clock import SystemClock
from services.storage.engine import open_database
from tests.bench.measure import Measurement
from tests.bench.nodes import PEPPER, bench_node
from tests.support.databases import PostgresServer, SqliteDatabases
from tests.support.people import resident_number

SMALL = 100_000
RESULTS_PER_PERSON = 5
ASKED = SMALL // RESULTS_PER_PERSON
"""Persons that are looked up: all persons of the small store, and as many spread evenly over the large one."""
BATCH = 500
ROUNDS = 40
CALLS = 2_000
ROTATION_BATCHES = 10
"""Batches of one turn. They take half a second of CPU time, which the kernel counts in hundredths of a second."""
ROTATION_TURNS = 5
"""How often all batches are asked in turn with and without a second key version."""
FIRST: Instant = 1_656_604_800_000_000
"""The first of July 2022 in Asia/Shanghai. Results are spread over 60 days, so that both stores have two partitions."""
DAYS = 60
SLOWER = 1 / 1.3
"""The least ratio: a look-up in the large store may take 1.3 times as long."""

LOAD = f"""
INSERT INTO results SELECT
  coalesce(asked.key, substring(sha256(person::text::bytea) FOR 16)),
  {FIRST} + (person * 7919 + result * 12) % {DAYS} * {DAY}::bigint + person % 86400 * 1000000::bigint,
  '91220501MA0HUTNG0T', 'R' || person || '-' || result, 1, 1, 1, substring(sha256(person::text::bytea) FOR 16),
  '张*', '410105********0019', 'T' || person, 1, 2, 1, 2, '220502', '东昌区第一采样点',
  {FIRST} - 14400000000, {FIRST} - 9000000000, {FIRST} - 3600000000, {FIRST}, {FIRST} + 60000000, NULL, '410000'
FROM generate_series(0, {{persons}} - 1) AS people (person)
CROSS JOIN generate_series(1, {RESULTS_PER_PERSON}) AS result
LEFT JOIN asked USING (person)
"""


def bench_lookups(directory: Path, postgres: PostgresServer, rows: int) -> list[Measurement]:
    """Measure single LookupLatest calls, and the store's own statement for 500 persons, in both stores."""
    documents = [
        identity_pb2.IdentityDocument(
            type=identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD, number=resident_number(person), name="张伟"
        )
        for person in range(ASKED)
    ]
    # A quarter of the machine's memory, as PostgreSQL's manual advises. The default holds a twentieth of the large
    # store, so the reading of pages would be measured.
    postgres.give_memory(psutil.virtual_memory().total // 4 // 1024**2)
    pepper = Pepper(PEPPER)
    keys = [pepper.subject_key(canonical_document(it.type, it.number)) for it in documents]
    urls = [postgres.make("results") for _ in range(2)]
    for url, size in zip(urls, (SMALL, rows), strict=True):
        begun = time.monotonic()
        load(url, size, keys)
        print(f"lookups: {size:,} rows loaded in {time.monotonic() - begun:.0f} s")
    return [
        _measure_store(urls, keys, rows),
        _measure_service(directory, urls, documents, rows),
        measure_rotation("PostgreSQL", urls[0], documents),
        measure_rotation("SQLite", load_sqlite(directory / "rotation", keys[: ROTATION_BATCHES * BATCH]), documents),
    ]


def measure_rotation(engine: str, url: str, documents: Sequence[identity_pb2.IdentityDocument]) -> Measurement:
    """Compare batches of look-ups under two key versions with the same under one, alternately.

    All results are of the older version. CPU time is that of this process and of its database connections.
    """
    taken: list[list[float]] = [[], []]
    old = Pepper(PEPPER)
    database = open_database(url)
    clock = SystemClock()
    store = Stores(database, clock, [PEPPER]).lookup
    # Local look-ups without claimed reports use neither of the two.
    unused: Any = None
    nationwide = NationwideLookup(store, "410000", clock, unused, None)
    handlers = [
        LookupHandler(store, pepper, "410000", clock, unused, nationwide)
        for pepper in (old, Pepper(PEPPER[::-1] + b"new", 2, old))
    ]
    asked = [LookupLatestRequest(document=it) for it in documents[: ROTATION_BATCHES * BATCH]]
    batches = [
        BatchLookupColumnsRequest(requests=asked[start : start + BATCH]) for start in range(0, len(asked), BATCH)
    ]
    server: psutil.Process | None = None
    if engine == "PostgreSQL":
        with psycopg.connect(make_url(url).render_as_string(hide_password=False)) as connection:
            server = psutil.Process(connection.info.backend_pid).parent()
            assert server is not None

    def used() -> float:
        backends = server.children() if server is not None else ()
        return time.process_time() + sum(sum(one.cpu_times()[:2]) for one in backends)

    async def ask(handler: LookupHandler) -> None:
        for batch in batches:
            await handler.look_up_columns(batch)

    async def measure() -> None:
        for handler in handlers:
            await ask(handler)
        for _ in range(ROTATION_TURNS):
            for handler, times in zip(handlers, taken, strict=True):
                begun = used()
                await ask(handler)
                times.append(used() - begun)

    asyncio.run(measure())
    database.close()
    one, two = (len(asked) / statistics.median(times) for times in taken)
    name = f"look-ups while the key rotates, {engine}"
    return Measurement(name, two, "one key version", one, "persons/s of CPU", SLOWER)


def load_sqlite(directory: Path, keys: Sequence[bytes]) -> str:
    """Fill the tables of a new SQLite file as `LOAD` fills those of PostgreSQL. Return its URL."""
    directory.mkdir()
    url = SqliteDatabases(directory).make("results")
    rows = [
        {
            "subject_key": key,
            "reference_time": FIRST + (person * 7919 + result * 12) % DAYS * DAY + person * SECOND,
            "lab": "91220501MA0HUTNG0T",
            "report_number": f"R{person}-{result}",
            "revision": 1,
            "state": 1,
            "key_version": 1,
            "name_hash": key,
            "masked_name": "张*",
            "masked_number": "410105********0019",
            "tube_code": f"T{person}",
            "pool_size": 1,
            "specimen": 2,
            "method": 1,
            "outcome": 2,
            "sample_region": "220502",
            "sample_site": "东昌区第一采样点",
            "sample_time": FIRST - 4 * HOUR,
            "report_time": FIRST,
            "upload_time": FIRST + MINUTE,
            "source_node": "410000",
        }
        for person, key in enumerate(keys)
        for result in range(RESULTS_PER_PERSON)
    ]
    database = open_database(url)
    database.write_now(lambda connection: connection.execute(insert(results), rows))
    database.close()
    return url


def load(url: str, rows: int, keys: Sequence[bytes]) -> None:
    """Fill the real tables by one statement in PostgreSQL.

    The index is built after the rows, which takes a fraction of the time.
    """
    database = open_database(url)
    months = months_of([FIRST + day * DAY for day in range(DAYS + 1)])
    database.write_now(lambda connection: make_partitions(connection, months))
    database.close()
    persons = rows // RESULTS_PER_PERSON
    step = persons // len(keys)
    with psycopg.connect(make_url(url).render_as_string(hide_password=False), autocommit=True) as connection:
        index = connection.execute(
            "SELECT pg_get_indexdef('ix_results_subject_key_reference_time'::regclass)"
        ).fetchone()
        assert index is not None
        connection.execute("DROP INDEX ix_results_subject_key_reference_time")
        connection.execute("CREATE TEMPORARY TABLE asked (person bigint PRIMARY KEY, key bytea NOT NULL)")
        with connection.cursor().copy("COPY asked FROM STDIN") as copy:
            for index_of_key, key in enumerate(keys):
                copy.write_row((index_of_key * step, key))
        connection.execute("ANALYZE asked")
        connection.execute(LOAD.format(persons=persons))  # type: ignore[call-overload]
        # With "ON ONLY" the partitions would get no index.
        connection.execute(index[0].replace(" ON ONLY ", " ON "))
        connection.execute("VACUUM ANALYZE results")


def _measure_store(urls: Sequence[str], keys: Sequence[bytes], rows: int) -> Measurement:
    databases = [open_database(url) for url in urls]
    taken: list[list[float]] = [[], []]

    def ask(some: Sequence[bytes]) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            found = find_newest(connection, some)
            assert all(len(results) == RESULTS_PER_PERSON for results in found)

        return work

    batches = [keys[start : start + BATCH] for start in range(0, ROUNDS * BATCH, BATCH)]
    for some in batches:
        # Pages are read once before they are timed.
        for database in databases:
            database.read_now(ask(some))
    for some in batches:
        # Alternately, so that other load of the machine affects both stores.
        for database, times in zip(databases, taken, strict=True):
            begun = time.perf_counter()
            database.read_now(ask(some))
            times.append(time.perf_counter() - begun)
    for database in databases:
        database.close()
    small, great = (BATCH / statistics.median(times) for times in taken)
    return Measurement(f"{BATCH} look-ups in SQL, {rows:,} rows", great, f"{SMALL:,} rows", small, "persons/s", SLOWER)


def _measure_service(
    directory: Path, urls: Sequence[str], documents: Sequence[identity_pb2.IdentityDocument], rows: int
) -> Measurement:
    taken: list[list[float]] = [[], []]
    with (
        bench_node(directory / "node-small", {"results": urls[0]}) as small,
        bench_node(directory / "node-great", {"results": urls[1]}) as great,
        grpc.insecure_channel(small["results"]) as small_channel,
        grpc.insecure_channel(great["results"]) as great_channel,
    ):
        stubs = [ResultsServiceStub(channel) for channel in (small_channel, great_channel)]
        for turn, document in enumerate(documents[:: len(documents) // CALLS]):
            for stub, times in zip(stubs, taken, strict=True):
                begun = time.perf_counter()
                answer = stub.LookupLatest(LookupLatestRequest(document=document))
                times.append(time.perf_counter() - begun)
                assert answer.in_region or answer.out_of_region, turn
    small_rate, great_rate = (1 / statistics.median(times[100:]) for times in taken)
    return Measurement(f"LookupLatest, {rows:,} rows", great_rate, f"{SMALL:,} rows", small_rate, "1/median", SLOWER)
