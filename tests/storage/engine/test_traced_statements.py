"""Every statement is recorded, whichever way it takes to the driver, without its text and its parameters."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from services.runtime.tracing.spans import message_span
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.traces import recording

SECRET = "410105186001010019"


def make_table(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE persons (number TEXT)"))


def insert_person(connection: Connection) -> None:
    connection.execute(text("INSERT INTO persons VALUES (:number)"), {"number": SECRET})


def copy_person(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        driver.executemany("INSERT INTO persons VALUES (?)", [(SECRET,)])
    else:
        with driver.cursor() as cursor, cursor.copy("COPY persons (number) FROM STDIN") as copy:
            copy.write(f"{SECRET}\n")


def read_persons(connection: Connection) -> list[str]:
    driver: Any = connection.connection.driver_connection
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    return [row[0] for row in driver.execute(f"SELECT number FROM persons WHERE number = {mark}", (SECRET,))]


async def test_statements_of_sqlalchemy_and_of_the_driver_are_recorded(database_url: MakeUrl) -> None:
    with recording() as spans:
        database = open_database(database_url("results"))
        try:
            database.write_now(make_table)
            # A new connection runs statements of its own.
            assert await database.read(read_persons) == []
            assert not spans.get_finished_spans()
            with message_span("results", "test"):
                await database.write(insert_person)
                await database.write(copy_person)
                assert await database.read(read_persons) == [SECRET, SECRET]
        finally:
            database.close()
        found = spans.get_finished_spans()
    is_sqlite = database.is_sqlite
    names = [span.name for span in found if span.name != "BEGIN"]
    assert names == [
        "INSERT persons",
        "COMMIT",
        "database write",
        "INSERT persons" if is_sqlite else "COPY persons",
        "COMMIT",
        "database write",
        "SELECT persons",
        "database read",
        "test",
    ]
    statements = [span.attributes for span in found if span.name.isupper() or " persons" in span.name]
    assert all(
        one and one.keys() <= {"db.system.name", "db.operation.name", "db.collection.name"} for one in statements
    )
    assert SECRET not in "".join(span.to_json() for span in found)
