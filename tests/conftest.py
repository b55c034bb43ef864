"""Fixtures for every folder of tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Helpers that tests share contain asserts too. Their failures are to show values, so this line comes before any import
# of them.
pytest.register_assert_rewrite("tests.support")

from services.runtime.audit import current_audit  # noqa: E402
from services.runtime.call import current_call  # noqa: E402
from services.runtime.tuning import freeze_heap  # noqa: E402
from tests.support.databases import CitusServer, MakeUrl, PostgresServer, SqliteDatabases  # noqa: E402
from tests.support.guard import guarded  # noqa: E402
from tests.support.preloaded import stop_forking  # noqa: E402
from tests.support.processes import descendants, mark_descendants  # noqa: E402
from tests.support.results.distribution_law import take_faults, watch_statements  # noqa: E402

# Tests read English, whatever language the developer's commands speak. Their processes inherit it.
os.environ.pop("LANGUAGE", None)
os.environ["LC_ALL"] = "C.UTF-8"

# No example has a deadline, because an example may take long on a busy machine.
# `make test` tries the same examples in each run, so that its outcome depends on the code alone.
settings.register_profile("fixed", deadline=None, derandomize=True)
# `make quick` tries a quarter as many examples, and others in each run.
settings.register_profile("quick", deadline=None, max_examples=25)
settings.load_profile("fixed")


CITUS = os.environ.get("HUTONG_TEST_CITUS_URL", "")

mark_descendants()
watch_statements()


def pytest_collection_finish() -> None:
    """Tune garbage collection as a service does.

    Otherwise each collection of the oldest objects would visit all modules and tests, which live to the end.
    """
    freeze_heap()


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Fail the session when a process that a test started is still there at its end; it is killed then."""
    with guarded():
        yield
    stop_forking()
    left = [(process, " ".join(process.cmdline())) for process in descendants()]
    for process, _ in left:
        process.kill()
    assert not left, f"processes were left behind: {[command for _, command in left]}"


@pytest.fixture(autouse=True)
def _no_call_of_another_test() -> None:
    """A test begins outside any call, whatever call an earlier test has set."""
    current_call.set(None)
    current_audit.set(None)


@pytest.fixture(autouse=True)
def _statements_follow_the_distribution_plan() -> Iterator[None]:
    """Every statement that Results executes in this process can run on Citus (services/results/distribution.py)."""
    take_faults()
    yield
    faults = take_faults()
    assert not faults, "\n".join(faults)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One PostgreSQL server for the whole run. Tests that halt a server use `own_server`."""
    server = PostgresServer(tmp_path_factory.mktemp("postgresql") / "data", synced=False)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def fragile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A second PostgreSQL server, which tests may halt. They use it by `own_server`."""
    server = PostgresServer(tmp_path_factory.mktemp("fragile") / "data", synced=False)
    yield server
    server.stop()


@pytest.fixture
def own_server(fragile_server: PostgresServer) -> Iterator[PostgresServer]:
    """A PostgreSQL server that no other test uses meanwhile. It runs again after the test."""
    yield fragile_server
    fragile_server.resume()


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabases:
    """Where the run's SQLite files are."""
    return SqliteDatabases(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture
def sqlite_url(sqlite_databases: SqliteDatabases) -> MakeUrl:
    """Makes fresh, migrated SQLite databases: `sqlite_url("results")`."""
    return sqlite_databases.make


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[MakeUrl]:
    """Makes fresh, migrated PostgreSQL databases, which end with the test: `postgres_url("results")`."""
    made: list[str] = []

    def make(service: str) -> str:
        made.append(postgres_server.make(service))
        return made[-1]

    yield make
    for url in made:
        postgres_server.retire(url)


@pytest.fixture(scope="session")
def citus_server() -> CitusServer:
    """The Citus that HUTONG_TEST_CITUS_URL names."""
    return CitusServer(CITUS)


@pytest.fixture
def citus_url(citus_server: CitusServer, request: pytest.FixtureRequest) -> Iterator[MakeUrl]:
    """Makes empty databases of Results on Citus. Those of other services are on PostgreSQL."""

    def make(service: str) -> str:
        if service == "results":
            return citus_server.make()
        postgres_url: MakeUrl = request.getfixturevalue("postgres_url")
        return postgres_url(service)

    yield make
    citus_server.release()


@pytest.fixture(params=["sqlite", "postgresql", *(["citus"] if CITUS else [])])
def database_url(request: pytest.FixtureRequest) -> MakeUrl:
    """Makes fresh, migrated databases; the test runs once on each engine, also on a Citus that is named."""
    urls = {"sqlite": "sqlite_url", "postgresql": "postgres_url", "citus": "citus_url"}
    make: MakeUrl = request.getfixturevalue(urls[request.param])
    return make
