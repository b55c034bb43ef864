"""A migration that deadlocks with a service is tried again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text
from structlog.testing import capture_logs

from services.storage.engine import open_database
from services.storage.migrate import upgrade
from tests.support.databases import PostgresServer, count_waiting
from tests.support.waiting import wait_until


def test_a_migration_that_deadlocks_with_a_service_is_tried_again(postgres_server: PostgresServer) -> None:
    """Revision 0032 of Results locks `changes`, then 0033 `missing_reports`. A service locks them the other way."""
    url = postgres_server.make_empty()
    upgrade("results", url, "0031")
    database = open_database(url)
    # PostgreSQL looks for a deadlock once in each wait, after this time. The service waits for the migration by then.
    later = text(f"ALTER DATABASE {database.engine.url.database} SET deadlock_timeout = '4s'")
    database.write_now(lambda connection: connection.execute(later) and None)
    database.close()
    database = open_database(url)
    with capture_logs() as logs, ThreadPoolExecutor(1) as thread, database.engine.connect() as watcher:

        def is_waiting() -> bool:
            with watcher.begin():
                return count_waiting(watcher) == 1

        with database.engine.connect() as service, service.begin():
            service.execute(text("LOCK TABLE missing_reports IN ROW EXCLUSIVE MODE"))
            migrating = thread.submit(upgrade, "results", url)
            wait_until(is_waiting)
            # PostgreSQL ends the migration and not this transaction, because the migration has waited longer.
            service.execute(text("LOCK TABLE changes IN ROW EXCLUSIVE MODE"))
        migrating.result()
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM withheld_kinds")).scalar_one() == 0
    database.close()
    warnings = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
    assert warnings == ["the migration is tried again after a deadlock"]
