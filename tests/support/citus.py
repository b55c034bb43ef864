"""Starts and stops Citus on loopback: a coordinator without shards, and two workers.

`python -m tests.support.citus start FOLDER` prints the URL for HUTONG_TEST_CITUS_URL. `stop FOLDER` stops the servers.
PostgreSQL and the extension must be installed. The servers of `pg_config` are used.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL

from tests.support.ports import free_address

Server = tuple[str, int]
"""Host and port."""
COORDINATOR, WORKERS = "coordinator", ("worker-1", "worker-2")
DATABASE = "results"
SHARDS = 8
"""Shards of a table. Few are enough for two workers, and each shard costs a test time."""
SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{directory}'
shared_preload_libraries = 'citus'
max_connections = 300
max_worker_processes = 32
max_prepared_transactions = 600
citus.shard_count = {shards}
citus.node_conninfo = 'sslmode=disable'
citus.recover_2pc_interval = '5s'
citus.enable_statistics_collection = off
"""


def find_binaries() -> Path:
    """Return the folder of PostgreSQL's programs. Ends the process with one line if they, or Citus, are missing."""
    program = shutil.which("pg_config")
    if program is None:
        sys.exit("pg_config is missing: install PostgreSQL and its extension Citus 13")
    found = [subprocess.check_output([program, option], text=True).strip() for option in ("--bindir", "--sharedir")]
    binaries, shared = map(Path, found)
    if not (shared / "extension" / "citus.control").exists():
        sys.exit(f"PostgreSQL in {binaries} has no extension Citus: install Citus 13 for it")
    return binaries


def run_as_owner(command: Iterable[str | Path], directory: Path) -> None:
    """Run a program of PostgreSQL as the owner of a folder, because PostgreSQL refuses to run as root.

    The program and the servers that it starts do not belong to the test that started them.
    """
    owner = directory.stat()
    as_owner = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    given = [str(part) for part in command]
    environment = {name: value for name, value in os.environ.items() if name != "TEST_PROCESS"}
    subprocess.run(
        [*(as_owner if os.geteuid() == 0 else []), *given],
        check=True,
        cwd=directory,
        env=environment,
        stdout=subprocess.DEVNULL,
    )


def start(directory: Path) -> str:
    """Make the servers that do not exist yet, start all, and return the URL of the coordinator's database."""
    binaries = find_binaries()
    directory.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(directory, user.pw_uid, user.pw_gid)
    is_new = not (directory / COORDINATOR).exists()
    for name in (COORDINATOR, *WORKERS):
        data = directory / name
        if is_new:
            run_as_owner([binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"], directory)
            port = free_address().rpartition(":")[2]
            with (data / "postgresql.conf").open("a") as settings:
                settings.write(SETTINGS.format(port=port, directory=directory, shards=SHARDS))
        run_as_owner([binaries / "pg_ctl", "-D", data, "-l", directory / f"{name}.log", "-w", "start"], directory)
    ports = {name: _port(directory / name) for name in (COORDINATOR, *WORKERS)}
    url = URL.create("postgresql", "postgres", host="127.0.0.1", port=ports[COORDINATOR], database=DATABASE)
    if is_new:
        join(DATABASE, url, [("127.0.0.1", ports[name]) for name in WORKERS])
    return url.render_as_string()


def join(database: str, coordinator: URL, workers: Sequence[Server] = ()) -> None:
    """Make a database on all servers, unless it is there, and join the workers to it.

    Without `workers` they are those of the coordinator's database.
    """
    workers = workers or find_workers(coordinator)
    urls = [coordinator, *(coordinator.set(host=host, port=port) for host, port in workers)]
    for url in urls:
        with connect(url.set(database="postgres")) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone():
                continue
            connection.execute(f"CREATE DATABASE {database}")  # type: ignore[call-overload]
        with connect(url.set(database=database)) as connection:
            connection.execute("CREATE EXTENSION citus")
    with connect(coordinator.set(database=database)) as connection:
        connection.execute("SELECT citus_set_coordinator_host(%s, %s)", (coordinator.host, coordinator.port))
        for host, port in workers:
            connection.execute("SELECT citus_add_node(%s, %s)", (host, port))


def find_workers(coordinator: URL) -> list[Server]:
    """Return the workers of the coordinator's database."""
    with connect(coordinator) as connection:
        return connection.execute("SELECT nodename, nodeport FROM pg_dist_node WHERE groupid > 0").fetchall()


def connect(url: URL) -> psycopg.Connection[Any]:
    """Connect to a database in autocommit."""
    return psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True)


def stop(directory: Path) -> None:
    """Stop all servers. Their data stay."""
    binaries = find_binaries()
    for name in (COORDINATOR, *WORKERS):
        run_as_owner([binaries / "pg_ctl", "-D", directory / name, "-m", "fast", "-w", "stop"], directory)


def _port(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().splitlines()[3])


def main() -> None:
    """Start or stop."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.citus", description=__doc__)
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.action == "start":
        print(start(options.folder.absolute()))
    else:
        stop(options.folder.absolute())


if __name__ == "__main__":
    main()
