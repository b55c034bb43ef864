"""What a node says that it has removed, when it begins to replicate."""

from __future__ import annotations

import contextlib

from services.domain.instant import DAY
from services.results.exchange.downstream.nodes import open_log
from services.results.exchange.model import NodeLog, WriterPosition
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.results.factories import NOW


def test_a_writer_may_be_named_twice_with_and_without_a_time(sqlite_url: MakeUrl) -> None:
    log = NodeLog("410000", "0190a5e2-7c00-7000-8000-000000000001")
    removed = [WriterPosition(1, 2, NOW - DAY), WriterPosition(1, 2, None), WriterPosition(1, 1, None)]
    with contextlib.closing(open_database(sqlite_url("results"))) as database:
        positions = database.write_now(open_log, log, removed, 0, NOW)
    assert [position[:2] for position in positions] == [(1, 2)]
