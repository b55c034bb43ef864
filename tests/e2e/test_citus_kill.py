"""Servers of Citus crash under load, in the middle of commits too: nothing acknowledged is lost or stored twice.

It needs HUTONG_TEST_CITUS_URL. KILL_ROUNDS says how often a server crashes; KILL_SEED repeats a run's points.
"""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import pytest

from services.storage.engine import open_database
from tests.support.citus_servers import find_nodes
from tests.support.databases import MakeUrl
from tests.support.ports import free_address
from tests.support.restartable import restartable, service_variables
from tests.support.results.uploaders import Laboratories
from tests.support.waiting import random_instant, wait_until

pytestmark = pytest.mark.skipif(
    not os.environ.get("HUTONG_TEST_CITUS_URL"), reason="HUTONG_TEST_CITUS_URL names no Citus"
)
ROUNDS = int(os.environ.get("KILL_ROUNDS", "6"))
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
MOST_BATCHES = 4
"""Fewer batches than these are acknowledged between two crashes."""


def test_a_server_that_crashes_under_load_loses_nothing(tmp_path: Path, citus_url: MakeUrl) -> None:
    """In turns, a worker loses its sessions, a worker crashes and comes back, and the coordinator does either."""
    chance = random.Random(SEED)
    url = citus_url("results")
    coordinator, *workers = find_nodes(url)
    address = free_address()
    laboratories = Laboratories(address)
    with restartable(tmp_path / "log", **service_variables(tmp_path, url, address)) as services:
        services.start()
        laboratories.start()
        for number in range(ROUNDS):
            laboratories.wait_for_batches(chance.randrange(1, MOST_BATCHES))
            random_instant(chance, 0.05)
            node = coordinator if number % 5 == 4 else chance.choice(workers)
            if number % 2:
                node.crash_sessions()
                node.await_ready()
            else:
                node.crash()
                node.start()
        laboratories.wait_for_batches(MOST_BATCHES)
        laboratories.finish()
    assert sum(uploader.breaks for uploader in laboratories.uploaders) >= ROUNDS // 2, f"hardly any load, seed {SEED}"
    # Citus ends the transactions that the crashes have left.
    wait_until(lambda: not any(node.count_prepared() for node in workers))
    with contextlib.closing(open_database(url)) as database:
        database.read_now(laboratories.check)
