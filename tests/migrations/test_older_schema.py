"""Services of this version run on the schema of the previous release (services/storage/schema/older.py)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import pytest
from hutong.exchange.v1.refusal_exchange_service_pb2 import RefusalExchangeFrame, RefusalExchangeStart
from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    exc,
    func,
    insert,
    select,
    update,
)

from services.domain.errors import Unavailable
from services.domain.subject import Pepper
from services.policy.tables import nodes_below, policies, upstream_lives
from services.results.holds.tables import legal_holds
from services.results.missing_reports.tables import missing_reports
from services.results.timeliness.tables import delays, last_uploads
from services.runtime.clock import FixedClock
from services.storage.connections import create_service_engine
from services.storage.engine import Database, open_database
from services.storage.migrate import SERVICES, find_fit, upgrade
from services.storage.schema.fit import OLDEST_SERVED
from services.storage.schema.older import OlderSchema, fit_statements
from services.storage.upsert import insert_if_absent, insert_or_update
from services.verification.refusal_exchange.store import RefusalExchangeStore
from services.verification.refusals.rows import to_row
from services.verification.refusals.summaries.model import SummaryQuestion
from services.verification.refusals.summaries.store import SummaryStore
from services.verification.refusals.tables import refusals
from tests.support.databases import PostgresServer
from tests.support.verification.refusals import make_refusal

LAB = "914100000000000000"


@contextlib.contextmanager
def opened(service: str, url: str) -> Iterator[Database]:
    """Open a service's database as the service does."""
    with contextlib.closing(open_database(url, partial(find_fit, service))) as database:
        yield database


@pytest.fixture
def older(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[tuple[Database, str]]:
    """A service's database with the schema of the previous release, and its URL. The parameter is the service."""
    service = request.param
    url = postgres_server.make_empty()
    upgrade(service, url, OLDEST_SERVED[service])
    with opened(service, url) as database:
        yield database, url
    postgres_server.drop(url)


def of(service: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("older", [service], indirect=True)


def metadata_of(service: str) -> MetaData:
    return cast(MetaData, importlib.import_module(f"services.{service}.tables").metadata)


def sample(table: Table, **values: Any) -> dict[str, Any]:
    """Return a row with a value in each column that must have one."""
    kinds: dict[type, Any] = {bytes: b"", str: "", int: 7, bool: False}
    required = {one.name: kinds[one.type.python_type] for one in table.columns if not one.nullable}
    return required | values


def rows_of(connection: Connection, table: Table, names: list[str]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(select(*(table.c[name] for name in names)))]


@pytest.mark.parametrize("older", SERVICES, indirect=True)
def test_a_read_finds_what_the_migration_will_fill_in(older: tuple[Database, str], request: Any) -> None:
    """Each table with a row of the previous release, and each missing table, reads as after the migration."""
    database, url = older
    service = request.node.callspec.params["older"]
    stored = MetaData()
    stored.reflect(database.engine)
    tables = metadata_of(service).tables
    missing = {
        name: [one.name for one in table.columns if name not in stored.tables or one.name not in stored.tables[name].c]
        for name, table in tables.items()
    }
    with database.engine.begin() as connection:
        for name in {"delays", *(name for name, columns in missing.items() if columns)} & stored.tables.keys():
            connection.execute(insert(stored.tables[name]), sample(stored.tables[name]))
    wanted = {name: columns for name, columns in missing.items() if columns}
    assert wanted, "no migration is newer than the release before: this test proves nothing"
    before = {name: database.read_now(rows_of, tables[name], columns) for name, columns in wanted.items()}
    upgrade(service, url)
    after = {name: database.read_now(rows_of, tables[name], columns) for name, columns in wanted.items()}
    assert before == after


@pytest.mark.parametrize("older", SERVICES, indirect=True)
def test_only_what_may_be_missing_is_marked(older: tuple[Database, str], request: Any) -> None:
    """A mark for upgrades must be removed once the previous release has the column or table."""
    database, _ = older
    stored = MetaData()
    stored.reflect(database.engine)
    for name, table in metadata_of(request.node.callspec.params["older"]).tables.items():
        known = stored.tables.get(name)
        assert known is None or not table.info, name
        for column in table.columns:
            assert known is None or column.name not in known.c or not column.info, f"{name}.{column.name}"


@pytest.mark.parametrize("older", SERVICES, indirect=True)
def test_every_table_is_read_whole(older: tuple[Database, str], request: Any) -> None:
    """A whole row, an alias, a condition, an order, an aggregate and a subquery of each table fit the older schema."""
    database, _ = older
    for table in metadata_of(request.node.callspec.params["older"]).tables.values():
        other = table.alias("other")
        last = list(table.columns)[-1]
        inner = select(table).subquery()
        counted = select(func.count()).select_from(table).where(last.is_not(None))
        joined = select(other.c[last.name], table).join_from(table, other, other.c[last.name] == last)
        for statement in (select(table).order_by(last), select(other), select(inner), joined):
            assert database.read_now(lambda connection, one=statement: connection.execute(one).all()) == []
            assert database.read_now(lambda connection, one=statement: [*connection.execute(one).keys()])
        assert database.read_now(lambda connection, one=counted: connection.execute(one).scalar_one()) == 0


@of("policy")
def test_what_may_be_left_out_is_left_out(older: tuple[Database, str]) -> None:
    """A policy is stored without its node.

    Once the database is migrated, a policy is stored with its node, and no process needs a restart.
    """
    database, url = older

    def publish(connection: Connection, policy_id: str) -> None:
        connection.execute(insert(policies).values(sample(policies, policy_id=policy_id, node="410000")))
        connection.execute(insert(policies), [sample(policies, policy_id=f"{policy_id}-2", node="410000")])
        named = update(policies).where(policies.c.policy_id == policy_id)
        assert connection.execute(named.values(node="410000")).rowcount == 1
        many = update(policies).where(policies.c.policy_id == bindparam("one")).values(node=bindparam("another"))
        connection.execute(many, [{"one": policy_id, "another": "410000"}])

    def nodes(connection: Connection) -> dict[str, str | None]:
        return {row.policy_id: row.node for row in connection.execute(select(policies))}

    database.write_now(publish, "before")
    assert database.read_now(nodes) == {"before": None, "before-2": None}
    upgrade("policy", url)
    database.write_now(publish, "after")
    assert database.read_now(nodes) == {"before": None, "before-2": None, "after": "410000", "after-2": "410000"}


@of("policy")
async def test_bulk_reads_are_limited_on_an_older_schema(older: tuple[Database, str]) -> None:
    """A read of many rows sets its limit in its own transaction, even if it is the first use of the database."""
    database, _ = older
    assert await database.read_in_bulk(lambda connection: connection.execute(select(policies)).all()) == []


@of("results")
def test_what_must_not_be_lost_is_refused(older: tuple[Database, str]) -> None:
    """An answer to a missing report and a legal hold are refused, and stored once the database is migrated."""
    database, url = older
    row = sample(missing_reports, lab=LAB, report_number="R-1")

    def answer(connection: Connection) -> int:
        return connection.execute(update(missing_reports).values(answer=2)).rowcount

    def answer_each(connection: Connection) -> None:
        connection.execute(insert(missing_reports), [row | {"report_number": "R-2", "answer": 2}])

    def hold(connection: Connection) -> None:
        connection.execute(insert(legal_holds).values(sample(legal_holds)))

    # The default can be left out, so it needs no column.
    database.write_now(lambda connection: connection.execute(insert(missing_reports).values(row | {"answer": None})))
    for change, lacking in (
        (answer, "missing_reports.answer"),
        (answer_each, "missing_reports.answer"),
        (hold, "legal_holds"),
    ):
        with pytest.raises(Unavailable, match=f"without {lacking}: hutongd migrate"):
            database.write_now(change)
    upgrade("results", url)
    assert database.write_now(answer) == 1
    for change in (answer_each, hold):
        database.write_now(change)


@of("policy")
def test_a_missing_table_has_no_rows_to_change(older: tuple[Database, str]) -> None:
    """An update and a delete of a missing table change no row, neither there nor in another table."""
    database, _ = older
    database.write_now(lambda connection: connection.execute(insert(policies).values(sample(policies))))
    for statement in (update(nodes_below).values(cursor=""), delete(nodes_below)):
        assert database.write_now(lambda connection, one=statement: connection.execute(one).rowcount) == 0
    assert len(database.read_now(lambda connection: connection.execute(select(policies)).all())) == 1


@of("results")
def test_an_upload_is_counted_by_what_the_database_has(older: tuple[Database, str]) -> None:
    """The time of the last upload is not written, and is read from the delays."""
    database, _ = older

    def upload(connection: Connection) -> None:
        connection.execute(insert(delays).values(sample(delays, lab=LAB, last_upload_time=9, counted=0)))
        new = insert_or_update(connection, last_uploads)
        newer = new.on_conflict_do_update(index_elements=["lab"], set_={"upload_time": new.excluded.upload_time})
        connection.execute(newer, {"lab": LAB, "upload_time": 9})

    database.write_now(upload)
    assert database.read_now(lambda connection: connection.execute(select(last_uploads)).all()) == [(LAB, 9)]


@of("verification")
def test_a_conflict_sets_what_the_database_has(older: tuple[Database, str]) -> None:
    """If a conflict would set only missing columns, the stored row stays as it is."""
    database, _ = older
    row = sample(refusals, uuid="1", venue_kind=0, escalation_count=0, due_time=7 + 5 * 86_400_000_000, code="ABC")

    def store(connection: Connection) -> int:
        new = insert_or_update(connection, refusals).values(row)
        connection.execute(new.on_conflict_do_update(index_elements=["uuid"], set_={"code": new.excluded.code}))
        twice = new.on_conflict_do_update(index_elements=["uuid"], set_={"venue": "Gate 2", "code": "ABC"})
        connection.execute(twice)
        return connection.execute(insert_if_absent(connection, refusals).values(row)).rowcount

    assert database.write_now(store) == 0
    assert database.write_now(store) == 0
    found = database.read_now(lambda connection: connection.execute(select(refusals)).one())
    assert (found.venue, found.code, found.assess_time) == ("Gate 2", None, 7)


async def test_refusals_are_exchanged_and_summed_up_before_links_have_streams(postgres_server: PostgresServer) -> None:
    """Without the columns no stream is told from another, and nothing is stored of what was sent."""
    url = postgres_server.make_empty()
    upgrade("verification", url, "0019")
    with opened("verification", url) as database:
        store = RefusalExchangeStore(database, Pepper(b"p" * 32), FixedClock(9), "000000", has_upstream=False)
        begun = await store.begin(RefusalExchangeStart(), "410000", is_above=False)
        await store.note_sent("410000", begun.stream, 1)
        assert await store.receive("410000", begun.stream, RefusalExchangeFrame(number=1)) == []
        await database.write(lambda connection: connection.execute(insert(refusals), [to_row(make_refusal(5))]))
        page = await SummaryStore(database).summarize(SummaryQuestion("", 0, 9), None, 2, 9)
        assert [row.total.refusal_count for row in page.rows] == [1]
    postgres_server.drop(url)


@of("policy")
def test_a_statement_in_the_cache_is_not_adapted(older: tuple[Database, str]) -> None:
    """A thread may read the older schema while another compiles a statement for the cache.

    The cached statement still has all columns of this version.
    """
    _, url = older
    engine, schema = create_service_engine(url), OlderSchema()
    fit_statements(engine, schema)
    try:
        with engine.connect() as connection:
            schema.read(connection)
            with pytest.raises(exc.ProgrammingError, match="node"):
                connection.execute(select(policies))
            connection.rollback()
            connection.execution_options(compiled_cache=None)
            assert connection.execute(select(policies)).all() == []
    finally:
        engine.dispose()


@of("policy")
def test_a_text_that_differs_from_the_default_in_case_is_refused(older: tuple[Database, str]) -> None:
    database, _ = older
    columns = [Column(one.name, one.type, primary_key=one.primary_key) for one in upstream_lives.columns]
    table = Table(upstream_lives.name, MetaData(), *columns, Column("mood", String, server_default="a"))
    row = sample(upstream_lives)
    database.write_now(lambda connection: connection.execute(insert(table).values(row | {"mood": "a"})))
    with pytest.raises(Unavailable, match=r"mood"):
        database.write_now(lambda connection: connection.execute(insert(table).values(row | {"mood": "A"})))


@pytest.mark.parametrize("service", SERVICES)
def test_an_older_schema_still_is_not_served(service: str, postgres_server: PostgresServer) -> None:
    """The schema of the previous release passes the health check. An older schema does not."""
    url = postgres_server.make_empty()
    upgrade(service, url, f"{int(OLDEST_SERVED[service]) - 1:04}")
    with opened(service, url) as database:
        with pytest.raises(Unavailable, match="hutongd migrate"):
            asyncio.run(database.check())
        upgrade(service, url, OLDEST_SERVED[service])
        asyncio.run(database.check())
    postgres_server.drop(url)
