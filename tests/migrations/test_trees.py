"""Tests of every service's migrations: up and down, completeness, a shared database, and failures."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, event, inspect

import migrations
from services.domain.errors import Unavailable
from services.storage.connections import create_service_engine
from services.storage.migrate import (
    SERVICES,
    alembic_config,
    downgrade,
    find_fit,
    find_schema_fault,
    upgrade,
    version_table,
)
from services.storage.schema.fit import SchemaFit
from tests.support.databases import PostgresServer
from tests.support.processes import started
from tests.support.waiting import TIMEOUT_SECONDS

MakeEmpty = Callable[[], str]
"""Returns the URL of a new database without a schema."""

UP = "import sys; from services.storage.migrate import upgrade; upgrade(sys.argv[1], sys.argv[2])"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> MakeEmpty:
    """Return a function that makes databases without a schema. The test runs once on each engine."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.make_empty
    names = iter(range(100))
    return lambda: f"sqlite:///{tmp_path / str(next(names))}.db"


def metadata_of(service: str) -> MetaData:
    """Return the tables that the service's code declares."""
    found: MetaData = importlib.import_module(f"services.{service}.tables").metadata
    return found


def tables_in(url: str) -> set[str]:
    """Return the tables in a database."""
    engine = create_service_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def current(service: str, url: str) -> bool:
    """Return whether the service considers the database current."""
    engine = create_service_engine(url)
    try:
        with engine.connect() as connection:
            return find_fit(service, connection) is SchemaFit.CURRENT
    finally:
        engine.dispose()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_goes_up_down_and_up_again(service: str, empty_url: MakeEmpty) -> None:
    """An upgrade makes exactly the tables that the code declares, and a downgrade to the base removes them all."""
    url = empty_url()
    assert not current(service, url)
    for _ in range(2):
        upgrade(service, url)
        assert current(service, url)
        assert tables_in(url) == {*metadata_of(service).tables, version_table(service)}
        # Fails if the tables in the code differ from those in the database.
        command.check(alembic_config(service, url))
        downgrade(service, url, "base")
        assert not current(service, url)
        assert tables_in(url) == {version_table(service)}


def test_asking_for_the_revision_keeps_to_one_statement(empty_url: MakeEmpty) -> None:
    """Each check runs the same statement object, so that SQLAlchemy's cache of compiled statements does not grow."""
    url = empty_url()
    upgrade("results", url)
    engine = create_service_engine(url)
    statements: list[object] = []
    event.listen(engine, "before_execute", lambda _connection, statement, *_rest: statements.append(statement))
    try:
        with engine.connect() as connection:
            assert all(find_fit("results", connection) is SchemaFit.CURRENT for _ in range(3))
    finally:
        engine.dispose()
    built = [one for one in statements if not isinstance(one, str)]
    assert len(built) == 3
    assert len(set(map(id, built))) == 1


def test_a_schema_of_a_newer_version_is_served_and_not_changed(empty_url: MakeEmpty) -> None:
    """Processes of the previous release go on during an upgrade. Its commands refuse the database."""
    url = empty_url()
    upgrade("policy", url)
    engine = create_service_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version_policy SET version_num = '9999'")
    engine.dispose()
    assert current("policy", url)
    assert "a newer version wrote it" in find_schema_fault("policy", url)


def test_services_may_share_a_database(empty_url: MakeEmpty) -> None:
    """Each service has its own schema revision, and neither upgrade nor downgrade touches the others' tables."""
    url = empty_url()
    for service in SERVICES:
        upgrade(service, url)
    for service in SERVICES:
        assert current(service, url)
        command.check(alembic_config(service, url))
    downgrade(SERVICES[0], url, "base")
    assert [current(service, url) for service in SERVICES] == [False, True, True]
    assert tables_in(url) >= {*metadata_of(SERVICES[1]).tables, *metadata_of(SERVICES[2]).tables}


def test_two_migrators_at_once_do_it_once(empty_url: MakeEmpty) -> None:
    """Of two processes that start together, one migrates, and the other waits and has nothing to do."""
    url = empty_url()
    command = [sys.executable, "-c", UP, "results", url]
    with started(command) as one, started(command) as other:
        assert [process.wait(TIMEOUT_SECONDS) for process in (one, other)] == [0, 0]
    assert current("results", url)


REVISION = """
from alembic import op
import sqlalchemy as sa

revision, down_revision, branch_labels, depends_on = "{number:04}", {before}, None, None


def upgrade():
    op.create_table("table_{number}", sa.Column("id", sa.Integer, primary_key=True))
    {then}


def downgrade():
    op.drop_table("table_{number}")
"""


def test_an_upgrade_that_fails_half_way_leaves_nothing_behind(
    empty_url: MakeEmpty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the second revision fails, the first is undone too, so that no database is left between two schemas."""
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "0001_one.py").write_text(REVISION.format(number=1, before=None, then="pass"))
    (versions / "0002_two.py").write_text(REVISION.format(number=2, before="'0001'", then="raise KeyError('fault')"))
    url = empty_url()
    config = alembic_config("results", url)
    config.set_section_option("results", "version_locations", str(versions))
    with pytest.raises(KeyError, match="fault"):
        command.upgrade(config, "head")
    assert tables_in(url) & {"table_1", "table_2"} == set()
    (versions / "0002_two.py").write_text(REVISION.format(number=2, before="'0001'", then="pass"))
    command.upgrade(config, "head")
    assert tables_in(url) >= {"table_1", "table_2"}


@pytest.mark.parametrize("service", SERVICES)
def test_revisions_are_a_single_line_and_named_by_what_they_do(service: str) -> None:
    """Files are named NNNN_imperative_slug.py and each revision follows the one before, so there is one head."""
    script = ScriptDirectory.from_config(alembic_config(service))
    revisions = list(script.walk_revisions())[::-1]
    assert len(script.get_heads()) == 1
    assert [revision.revision for revision in revisions] == [f"{n:04}" for n in range(1, len(revisions) + 1)]
    files = [Path(revision.path).name for revision in revisions]
    assert all(re.fullmatch(r"\d{4}(_[a-z0-9]+)+\.py", file) for file in files)
    assert len(files) == len(list((Path(migrations.__file__).parent / service / "versions").glob("*.py")))


@pytest.mark.parametrize("service", SERVICES)
def test_every_constraint_has_a_name(service: str) -> None:
    """Every constraint has a name, so that later migrations can name it on every engine."""
    for table in metadata_of(service).tables.values():
        for constraint in table.constraints:
            if len(constraint.columns) or type(constraint).__name__ != "PrimaryKeyConstraint":  # type: ignore[attr-defined]
                assert constraint.name, f"{table.name}: {constraint}"


def test_names_of_tables_are_of_one_service() -> None:
    """No two services have a table of the same name, so that they can share a database."""
    names = [name for service in SERVICES for name in metadata_of(service).tables]
    assert len(names) == len(set(names))


def test_the_environment_names_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alembic on the command line migrates the database of HUTONG_RESULTS_DATABASE_URL."""
    url = f"sqlite:///{tmp_path / 'by-hand.db'}"
    monkeypatch.setenv("HUTONG_RESULTS_DATABASE_URL", url)
    command.upgrade(alembic_config("results"), "head")
    assert current("results", url)


def test_an_unavailable_database_is_reported(tmp_path: Path) -> None:
    """The migration of an unavailable database fails with DATABASE_UNAVAILABLE and does not show the password."""
    fails = partial(upgrade, "results", f"postgresql://hutong:t0psecret@/results?host={tmp_path}")
    with pytest.raises(Unavailable, match="cannot be migrated now") as caught:
        fails()
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    assert "t0psecret" not in str(caught.value)
