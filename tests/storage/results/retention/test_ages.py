"""Every store of Results has an age of its own, whatever the results' horizon, and what went is counted by store."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select

from services.domain.instant import DAY, HOUR, Instant, Span
from services.results.changelog.packing import pack_reports
from services.results.changelog.tables import changes
from services.results.documents.tables import document_links
from services.results.exchange.tables import acknowledged_positions, nodes, notifications, replicated_positions
from services.results.idempotency import requests
from services.results.missing_reports.tables import missing_reports
from services.results.retention.model import ResultsAges
from services.results.retention.purge import purge
from services.results.retention.tables import deletion_counts
from services.results.tables import metadata
from services.results.upload.tables import uploads
from tests.support.results.factories import NOW, USCC, make_tube
from tests.support.results.store import Laboratory

LONG_AGO: Instant = NOW - 900 * DAY
"""A horizon that no result has passed."""
AGE: Span = 10 * DAY
AGES = ResultsAges(*[AGE] * 6)
YOUNG, OLD = NOW - AGE, NOW - AGE - 1


def rows_of(age: Instant, number: int) -> dict[str, dict[str, Any]]:
    """Return a row of each store of this age."""
    link = {"subject_key": b"1" * 16, "document_type": 1, "masked_number": "1*", "linked_subject_key": b"2" * 16}
    link |= {"linked_document_type": 1, "linked_masked_number": "2*", "reason": "", "unlink_reason": ""}
    return {
        "document_links": {**link, "link_id": str(number), "create_time": LONG_AGO, "unlink_time": age},
        "results_request_memory": {
            "method": "m",
            "request_id": str(number),
            "content_hash": b"",
            "response": b"",
            "create_time": age,
        },
        "missing_reports": {
            "lab": USCC,
            "report_number": str(number),
            "create_time": age,
            "raising_node": "220000",
            "passed_on": False,
        },
        "notifications": {
            "node": "410000",
            "number": number,
            "kind": 1,
            "lab": "",
            "reports": pack_reports([]),
            "commit_time": age,
        },
        "replicated_positions": {
            "node": "410000",
            "log_id": str(number),
            "writer_id": 1,
            "committed": 1,
            "commit_time": age,
        },
    }


def node_row(node: str, newest: int) -> dict[str, Any]:
    """Return the row of a node at the nation, with the number of its newest notification."""
    zeros = dict.fromkeys(("contact_time", "backlog", "clock_skew", "conflict_count"), 0)
    return {"node": node, "newest_notification": newest, **zeros}


async def stored(laboratory: Laboratory, *tables: Any) -> dict[str, int]:
    def work(connection: Connection) -> dict[str, int]:
        return {table.name: len(connection.execute(select(table)).all()) for table in tables}

    return await laboratory.database.read(work)


async def counted(laboratory: Laboratory) -> dict[str, int]:
    def work(connection: Connection) -> dict[str, int]:
        return {row.store: row.removed_count for row in connection.execute(select(deletion_counts))}

    return await laboratory.database.read(work)


async def test_each_store_forgets_at_its_own_age_and_is_counted(laboratory: Laboratory) -> None:
    """Rows that are just old enough go, younger ones and links that stand stay, and so do all results."""
    await laboratory.send([make_tube(0), make_tube(9, region="999999")], upload_id="old", now=OLD)
    await laboratory.send([make_tube(1)], upload_id="young", now=YOUNG)

    def fill(connection: Connection) -> None:
        for number, age in ((1, OLD), (2, YOUNG)):
            for table, row in rows_of(age, number).items():
                connection.execute(insert(metadata.tables[table]).values(row))
        connection.execute(insert(nodes).values(node_row("410000", 2)))
        # The newest notification of this node is as old, and says where the node is.
        connection.execute(insert(nodes).values(node_row("220000", 7)))
        quiet = rows_of(OLD, 7)["notifications"] | {"node": "220000"}
        connection.execute(insert(notifications).values(quiet))
        standing = rows_of(OLD, 3)["document_links"] | {"unlink_time": None}
        connection.execute(insert(document_links).values(standing))

    await laboratory.database.write(fill)
    purge(laboratory.database, LONG_AGO, NOW, ages=AGES)
    assert await stored(
        laboratory, uploads, requests, missing_reports, notifications, replicated_positions, changes, document_links
    ) == {
        "uploads": 1,
        "results_request_memory": 1,
        "missing_reports": 1,
        "notifications": 2,
        "replicated_positions": 1,
        "changes": 1,
        "document_links": 2,
    }
    assert await laboratory.numbers() == ["R0", "R1"]
    assert await counted(laboratory) == {
        "uploads": 1,
        "upload_rejections": 1,
        "results_request_memory": 1,
        "missing_reports": 1,
        "notifications": 1,
        "replicated_positions": 1,
        "changes": 1,
        "document_links": 1,
    }


async def test_the_position_in_a_log_that_no_other_has_replaced_is_kept(laboratory: Laboratory) -> None:
    """A node that was silent for long goes on where it was."""
    row = rows_of(OLD, 1)["replicated_positions"]
    await laboratory.database.write(lambda connection: connection.execute(insert(replicated_positions).values(row)))
    purge(laboratory.database, LONG_AGO, NOW, ages=AGES)
    assert await stored(laboratory, replicated_positions) == {"replicated_positions": 1}


async def test_changes_that_the_node_above_does_not_have_are_kept_beyond_their_age(laboratory: Laboratory) -> None:
    """Of four old commits the first two are acknowledged. A node without another above it keeps none."""
    for number in range(4):
        await laboratory.send([make_tube(number)], upload_id=f"u{number}", now=OLD - HOUR)
    purge(laboratory.database, LONG_AGO, NOW, ages=AGES, has_upstream=True)
    assert (await stored(laboratory, changes))["changes"] == 4
    await laboratory.database.write(
        lambda connection: connection.execute(insert(acknowledged_positions).values(writer_id=1, acknowledged=2))
    )
    purge(laboratory.database, LONG_AGO, NOW, ages=AGES, has_upstream=True)
    assert (await stored(laboratory, changes))["changes"] == 2
    purge(laboratory.database, LONG_AGO, NOW, ages=AGES)
    assert (await stored(laboratory, changes))["changes"] == 0
