"""SIGKILL to a real Results service at random points under load: nothing acknowledged is lost, nothing is stored twice.

KILL_ROUNDS says how often it is killed on each engine (`make soak`: 500); KILL_SEED repeats a run's points.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from pathlib import Path

from services.storage.engine import open_database
from tests.support.databases import MakeUrl, PostgresServer
from tests.support.ports import free_address
from tests.support.restartable import restartable, service_variables
from tests.support.results.uploaders import Laboratories
from tests.support.waiting import random_instant

ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
MOST_BATCHES = 10
"""Fewer batches than these are acknowledged between two kills. In a tenth of the rounds none: it dies as it starts."""
RESTARTS = max(ROUNDS // 25, 2)
"""How often PostgreSQL is restarted: it takes its time to come back, and SQLite has no server to restart."""


def test_nothing_acknowledged_is_lost_and_nothing_doubled(tmp_path: Path, database_url: MakeUrl) -> None:
    """Three uploads through the client library, which finds the service again by itself after every kill."""
    chance = random.Random(SEED)
    url = database_url("results")
    address = free_address()
    laboratories = Laboratories(address)
    with restartable(tmp_path / "log", **service_variables(tmp_path, url, address)) as services:
        services.start()
        laboratories.start()
        loaded = 0
        for _ in range(ROUNDS):
            batches = chance.randrange(MOST_BATCHES)
            laboratories.wait_for_batches(batches)
            loaded += batches > 0
            # Anywhere in a commit that takes a few milliseconds, or in a start that takes some hundred.
            random_instant(chance, 0.02 if batches else 0.5)
            services.kill()
            services.start()
        laboratories.finish()
    assert sum(uploader.breaks for uploader in laboratories.uploaders) >= loaded, f"not killed under load, seed {SEED}"
    with contextlib.closing(open_database(url)) as database:
        database.read_now(laboratories.check)


def test_postgresql_restarted_under_load_loses_nothing(tmp_path: Path, own_server: PostgresServer) -> None:
    """PostgreSQL is restarted as by an operator and as after a crash, in turns.

    Service and clients recover by themselves.
    """
    url = own_server.make("results")
    address = free_address()
    laboratories = Laboratories(address)
    with restartable(tmp_path / "log", **service_variables(tmp_path, url, address)) as services:
        services.start()
        laboratories.start()
        for restart in range(RESTARTS):
            laboratories.wait_for_batches(MOST_BATCHES)
            own_server.halt(signal.SIGQUIT if restart % 2 else signal.SIGINT)
            laboratories.wait_for_breaks()
            own_server.resume()
        laboratories.wait_for_batches(MOST_BATCHES)
        laboratories.finish()
    with contextlib.closing(open_database(url)) as database:
        database.read_now(laboratories.check)
