"""The steps of docs/backup.md for PostgreSQL, as an operator follows them, with a real server and its own tools."""

from __future__ import annotations

import contextlib
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from services.results.changelog.append import append_entry
from services.results.changelog.lives import find_lost
from services.runtime.consistency import LogPosition
from services.storage.engine import open_database
from tests.support.databases import PostgresServer
from tests.support.pages import block
from tests.support.processes import environment, run
from tests.support.results.factories import NOW, USCC
from tests.support.secrets import write_secret
from tests.support.systemctl import path_of, put
from tests.support.waiting import wait_until

AS_POSTGRES = ["setpriv", "--reuid=pgserver", "--clear-groups"] if os.geteuid() == 0 else []
"""The words before a command with which the server's user runs it."""


VERIFY = r"""#!/bin/sh -e
cd "$1"
sed -n 's/.*"Path": "\([^"]*\)".*"Checksum": "\([0-9a-f]*\)".*/\2  \1/p' backup_manifest > ../sums
sha256sum --quiet --check ../sums
"""
"""A `pg_verifybackup`, because that of the wheel crashes."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of the user that runs the PostgreSQL of tests."""
    with tempfile.TemporaryDirectory(prefix="hutong-test-") as name:
        if os.geteuid() == 0:
            os.chown(name, pwd.getpwnam("pgserver").pw_uid, -1)
        yield Path(name).resolve()


def commit(url: str, number: str) -> LogPosition:
    """Commit an entry of the change log."""
    with contextlib.closing(open_database(url)) as database:
        position = database.write_now(append_entry, USCC, [(number, 1)], NOW)
    assert position is not None
    return position


def lost(url: str, *positions: LogPosition) -> set[LogPosition]:
    """Return the commits that the database does not have."""
    with contextlib.closing(open_database(url)) as database:
        return database.read_now(find_lost, list(positions))


def ask(url: str, query: str) -> str:
    """Return the one value of a query."""
    with contextlib.closing(open_database(url)) as database:
        return str(database.read_now(lambda connection: connection.exec_driver_sql(query).scalar_one()))


def test_postgresql_goes_back_to_an_instant_and_is_loaded_from_a_dump(
    place: Path, own_server: PostgresServer, tmp_path: Path
) -> None:
    """Both restored databases recognise the tokens of lost commits. The audit names the gap."""
    url = own_server.make("results")
    name = str(make_url(url).database)
    host = str(make_url(url).query["host"])
    control = f"pg_ctl -D {place}/main -l {place}/log -o '-c listen_addresses= -k {place}' -w -s"
    programs = place / "bin"
    programs.mkdir()
    put(programs, "pg_verifybackup", VERIFY)
    path = path_of(programs, own_server.server.bin_path)

    def follow(steps: str, socket: str, **replaced: str) -> None:
        places = {"/backup": f"{place}/backup", "/var/lib/postgresql/18": str(place), **replaced}
        for here, there in places.items():
            steps = steps.replace(here, there)
        variables = {**os.environ, "PATH": path, "PGHOST": socket, "PGUSER": "postgres"}
        done = run([*AS_POSTGRES, "sh", "-ec", steps], env=variables, cwd=place)
        assert done.returncode == 0, done.stderr

    try:
        follow("mkdir -p -m 700 /backup/wal /backup/base /backup/dump", host)
        follow(block("docs/backup.md", "sh", "archive_mode"), host)
        own_server.halt()
        own_server.resume()
        kept = commit(url, "R0")
        follow(block("docs/backup.md", "sh", "pg_basebackup"), host)
        later = commit(url, "R1")
        instant = ask(url, """SELECT to_char(now(), 'YYYY-MM-DD"T"HH24:MI:SS.USOF')""")
        accident = commit(url, "R2")
        names = {" results\n": f" {name}\n", "restored": f"{name}_restored", "--owner=hutong": "--owner=postgres"}
        follow(block("docs/backup.md", "sh", "pg_dump"), host, **names)
        follow(block("docs/backup.md", "sh", "pg_restore"), host, **names)
        dumped = make_url(url).set(database=f"{name}_restored").render_as_string(hide_password=False)
        after = commit(url, "R3")
        segment = place / "backup/wal" / ask(url, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
        ask(url, "SELECT pg_switch_wal()::text")
        wait_until(segment.exists)
    finally:
        # The archive's folder is gone after the test. The server keeps its log until it is archived.
        follow("psql -d postgres -qc \"ALTER SYSTEM SET archive_command = 'true'\" -c 'SELECT pg_reload_conf()'", host)
    assert lost(url, kept, later, accident, after) == set()
    assert lost(dumped, kept, later, accident, after) == {after}
    (place / "main").mkdir()
    restored = make_url(url).set(query={"host": str(place)}).render_as_string(hide_password=False)
    try:
        follow(block("docs/backup.md", "sh", "recovery.signal"), str(place), **{"2026-11-30T08:59:00+08:00": instant})
        follow(f"{control} start", str(place))
        follow(block("docs/backup.md", "sh", "pg_is_in_recovery"), str(place))
        assert "recovery" not in (place / "main/postgresql.auto.conf").read_text()
        assert lost(restored, kept, later, accident, after) == {accident, after}
        commit(restored, "again")
        assert lost(restored, kept, later, accident, after) == {accident, after}
        variables = environment(results_database_url=restored, pepper_file=str(write_secret(tmp_path / "pepper")))
        steps = block("docs/backup.md", "sh", "record-restore").replace("2026-11-30T08:59:00+08:00", instant)
        steps = steps.replace("record-restore", "record-restore results").replace("verify", "verify results")
        done = run(["sh", "-ec", steps], env={**variables, "PATH": path})
        assert done.returncode == 0, done.stderr
        assert "from the copy" in done.stdout
    finally:
        follow(f"{control} -m immediate stop", str(place))
