"""Revision 0008 of Results: tables and columns under the contract's names, with every row they had."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from services.domain.region import NATION
from services.results.changelog.packing import pack_reports
from services.results.documents.store import list_links
from services.results.exchange.downstream.nodes import list_nodes, open_log
from services.results.exchange.downstream.notifications.notifications import (
    has_subscriptions,
    read_notifications,
)
from services.results.exchange.downstream.notifications.positions import newest_numbers, open_watch
from services.results.exchange.model import NodeLog, NotificationPosition
from services.results.exchange.subscribers import list_subscribed
from services.results.exchange.upstream.notification_store import read_position
from services.results.lookup.subjects import find_subjects
from services.results.missing_reports.store import list_missing_reports
from services.results.records.partitions import make_partitions
from services.results.tables import metadata
from services.results.timeliness.arrivals import with_national_receive_times
from services.storage.engine import Database, open_database
from services.storage.migrate import downgrade, upgrade
from tests.support.databases import PostgresServer
from tests.support.results.factories import NOW, REPORTED, USCC

KEY = b"k" * 16
OTHER_KEY = b"l" * 16
OLD_ROWS: dict[str, dict[str, object]] = {
    "results": {
        "subject_key": KEY,
        "file_time": REPORTED,
        "lab": USCC,
        "report_number": "R0",
        "revision": 1,
        "state": 1,
        "masked_name": "",
        "masked_number": "",
        "tube_code": "T0",
        "pool_size": 1,
        "specimen": 1,
        "method": 1,
        "outcome": 1,
        "sample_region": "220502",
        "sample_site": "",
        "sample_time": REPORTED,
        "report_time": REPORTED,
        "upload_time": NOW,
        "nationwide_time": NOW + 1,
        "origin": "220000",
        "key_version": 1,
        "name_hash": b"",
    },
    "report_keys": {
        "lab": USCC,
        "report_number": "R0",
        "subject_key": KEY,
        "file_time": REPORTED,
        "revision": 1,
        "outcome": 1,
        "content_hash": b"h" * 16,
    },
    "document_links": {
        "link_id": "01829d5e-0000-7000-8000-000000000001",
        "subject_key": KEY,
        "document_type": 1,
        "masked_number": "",
        "linked_subject_key": OTHER_KEY,
        "linked_document_type": 5,
        "linked_masked_number": "",
        "reason": "r",
        "create_time": NOW,
        "remove_time": NOW + 1,
        "remove_reason": "mistaken",
    },
    "follow_ups": {"lab": USCC, "report_number": "R9", "create_time": NOW, "raised_by": "410000", "passed_on": False},
    "followed_subjects": {"subject_key": KEY, "node": NATION, "follow_time": NOW},
    "nodes": {
        "node": "410000",
        "contact_time": NOW,
        "backlog": 0,
        "clock_skew": 0,
        "conflict_count": 0,
        "newest_notice": 1,
    },
    "notices": {
        "node": "410000",
        "number": 1,
        "kind": 0,
        "lab": USCC,
        "reports": pack_reports([("R0", 1)]),
        "commit_time": NOW,
    },
    "notice_places": {"node": NATION, "dealt": 7, "commit_time": NOW},
    "nationwide_places": {"writer_id": 1, "acknowledged": 5},
    "replicated_places": {"node": "410000", "log_id": "log", "writer_id": 1, "committed": 3, "commit_time": NOW},
    "nationwide_times": {"lab": USCC, "upload_time": NOW, "nationwide_time": NOW + 1},
    "nationwide_delays": {"lab": USCC, "report_hour": 1, "delay_class": 2, "persons": 3},
}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database at 0007 with a row in every table that 0008 renames or renames a column of."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    made = server.make_empty() if isinstance(server, PostgresServer) else f"sqlite:///{tmp_path / 'results.db'}"
    upgrade("results", made, "0007")
    database = open_database(made)
    database.write_now(fill)
    database.close()
    return made


def fill(connection: Connection) -> None:
    """The rows, as the previous version wrote them."""
    assert make_partitions(connection, [(2022, 8)])
    for table, row in OLD_ROWS.items():
        columns = ", ".join(row)
        values = ", ".join(f":{column}" for column in row)
        connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), row)


def counts(connection: Connection) -> dict[str, int]:
    """How many rows each table has."""
    names = metadata.tables
    return {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in names}


def test_every_row_is_there_under_its_new_name_and_is_read(url: str) -> None:
    """The rows are there also after the schema has gone down and up again, as when a deployment is taken back."""
    upgrade("results", url)
    downgrade("results", url, "0007")
    upgrade("results", url)
    database = open_database(url)
    try:
        assert {name for name, count in database.read_now(counts).items() if count} >= {
            "missing_reports",
            "subscriptions",
            "notifications",
            "notification_positions",
            "acknowledged_positions",
            "replicated_positions",
            "national_receive_times",
            "national_delays",
        }
        check_reads(database)
    finally:
        database.close()


def check_reads(database: Database) -> None:
    """Check that the service reads the rows of each table."""
    subjects, by_subject = database.read_now(find_subjects, [KEY])
    assert subjects == [[KEY]]
    ((result,),) = by_subject
    assert (result.reference_time, result.national_receive_time, result.source_node) == (REPORTED, NOW + 1, "220000")
    (missing,) = database.read_now(list_missing_reports, "", None, 9, include_closed=False)
    assert (missing.report.report_number, missing.report.raising_node) == ("R9", "410000")
    assert database.read_now(list_subscribed, NATION, b"", 9) == [KEY]
    assert database.read_now(has_subscriptions)
    assert database.read_now(newest_numbers) == {"410000": 1}
    (notification,) = database.read_now(read_notifications, "410000", 0)
    assert [change.result.report_number for change in notification.changes] == ["R0"]
    database.write_now(open_watch, "410000", NotificationPosition(1, NOW), (), NOW)
    assert [node.region for node in database.read_now(list_nodes)] == ["410000"]
    log = NodeLog("410000", "log")
    assert [tuple(position) for position in database.write_now(open_log, log, [], 0, NOW)] == [(1, 3, NOW)]
    assert database.read_now(read_position) == NotificationPosition(7, NOW)
    assert [one.national_receive_time for one in database.read_now(with_national_receive_times, [result])] == [NOW + 1]
    (link,) = database.read_now(list_links, [KEY], None, 9)
    assert (link.unlink_time, link.unlink_reason) == (NOW + 1, "mistaken")
