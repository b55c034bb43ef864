"""Heads of audits on SQLite and PostgreSQL: the newest is sent, and what the nation holds cannot be replaced."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hutong.audit.v1.audit_head_pb2 import AuditHead

from services.domain.instant import DAY, HOUR, SECOND, Instant, shanghai_day_start
from services.results.exchange.downstream.audit_heads import KEPT, HeadPosition, hold_heads, list_heads
from services.results.exchange.upstream.audit_heads import keep_heads, read_heads_to_send
from services.storage.engine import Database, open_database
from tests.support.databases import MakeUrl

MIDNIGHT = shanghai_day_start(20_000)
NODE = "410000"


def head(number: int, mark: int = 1, chain: int = 1, service: str = "policy") -> AuditHead:
    return AuditHead(service=service, chain=chain, number=number, head=bytes([mark]) * 32)  # type: ignore[arg-type]


@pytest.fixture
def database(database_url: MakeUrl) -> Iterator[Database]:
    opened = open_database(database_url("results"))
    yield opened
    opened.close()


def hold(database: Database, now: Instant, *heads: AuditHead, node: str = NODE) -> list[AuditHead]:
    return database.write_now(hold_heads, node, heads, now)


def held(database: Database, after: HeadPosition | None = None, limit: int = 100, node: str = NODE) -> list[AuditHead]:
    return [one.head for one in database.read_now(list_heads, node, after or HeadPosition(), limit)]


def test_the_newest_head_of_each_chain_is_sent(database: Database) -> None:
    """One process may be later than another one with an earlier head."""
    database.write_now(keep_heads, [head(7), head(3, chain=2)])
    database.write_now(keep_heads, [head(6), head(4, chain=2), head(1, service="results")])
    assert database.read_now(read_heads_to_send) == [head(7), head(4, chain=2), head(1, service="results")]


def test_the_first_head_of_a_seal_counts(database: Database) -> None:
    """Another head of the same seal is reported. Other chains, services and nodes are apart."""
    assert hold(database, MIDNIGHT, head(7), head(7, 2, chain=2)) == []
    assert hold(database, MIDNIGHT + HOUR, head(7), head(7, 9, chain=2), head(8)) == [head(7, 9, chain=2)]
    assert hold(database, MIDNIGHT, head(7, 5), node="220000") == []
    assert held(database) == [head(7), head(8), head(7, 2, chain=2)]
    assert held(database, node="220000") == [head(7, 5)]


def test_heads_that_come_too_fast_are_not_kept(database: Database) -> None:
    for number in range(1, 100):
        hold(database, MIDNIGHT + number * SECOND, head(number))
    assert [one.number for one in held(database)] == [1, 31, 61, 91]


def test_of_earlier_days_the_last_head_is_kept(database: Database) -> None:
    """All heads of today and yesterday are. After three years none is."""
    for hour in range(0, 80, 8):
        hold(database, MIDNIGHT + hour * HOUR, head(hour + 1))
    assert [one.number for one in held(database)] == [17, 41, 49, 57, 65, 73]
    hold(database, MIDNIGHT + 3 * DAY + KEPT, head(100))
    assert [one.number for one in held(database)] == [73, 100]


def test_heads_are_listed_in_pages(database: Database) -> None:
    hold(database, MIDNIGHT, head(2, chain=2), head(5), head(9, service="results"))
    first = held(database, limit=2)
    assert first == [head(5), head(2, chain=2)]
    last = first[-1]
    rest = held(database, HeadPosition(last.service, int(last.chain), last.number))
    assert rest == [head(9, service="results")]
