"""pgbouncer in transaction mode before the tests' PostgreSQL: each transaction gets whichever session is free."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from tests.support.databases import PostgresServer
from tests.support.ports import free_address
from tests.support.processes import started

SESSIONS = 6
"""Sessions of PostgreSQL for each database, fewer than one process of a service has connections."""
# Options at connect are dropped, as operators configure it for other programs. By default pgbouncer refuses them.
CONFIGURATION = """
[databases]
* = host={directory} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 500
ignore_startup_parameters = options,extra_float_digits
"""


@contextlib.contextmanager
def pooled(program: str, server: PostgresServer, directory: Path, address: str = "") -> Iterator[str]:
    """Run pgbouncer before a server and yield its host:port, `address` if given. It accepts connections soon."""
    data = Path(server.server.pgdata)
    address = address or free_address()
    settings = CONFIGURATION.format(directory=data, port=address.rpartition(":")[2], sessions=SESSIONS)
    file = directory / "pgbouncer.ini"
    file.write_text(settings, encoding="utf-8")
    owner = data.stat().st_uid
    # pgbouncer refuses to run as root.
    as_owner = ["-u", pwd.getpwuid(owner).pw_name] if os.getuid() != owner else []
    with open(directory / "pgbouncer.log", "wb") as log, started([program, *as_owner, str(file)], stderr=log):
        yield address


def pooled_url(url: str, address: str) -> str:
    """Return the URL of a database through the pooler, without saying that there is one."""
    host, _, port = address.rpartition(":")
    return (
        make_url(url)
        .set(query={}, host=host, port=int(port), username="postgres")
        .render_as_string(hide_password=False)
    )
