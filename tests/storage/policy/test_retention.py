"""A purge of Policy removes remembered requests beyond their age, counts them, and keeps every policy."""

from __future__ import annotations

from sqlalchemy import insert, select

from services.policy.retention import purge_policy
from services.policy.tables import deletion_counts, requests
from services.storage.engine import open_database
from tests.support.databases import MakeUrl


def test_a_purge_removes_old_requests_and_counts_them(database_url: MakeUrl) -> None:
    database = open_database(database_url("policy"))
    rows = [
        {"method": "m", "request_id": str(age), "content_hash": b"", "response": b"", "create_time": age}
        for age in (98, 99, 100)
    ]
    database.write_now(lambda connection: connection.execute(insert(requests), rows))
    assert purge_policy(database, "d1", 100) == 2
    assert purge_policy(database, "d2", 100) == 0
    with database.engine.connect() as connection:
        assert list(connection.execute(select(requests.c.request_id)).scalars()) == ["100"]
        assert [tuple(row) for row in connection.execute(select(deletion_counts))] == [
            ("d1", "policy_request_memory", 2)
        ]
    database.close()
