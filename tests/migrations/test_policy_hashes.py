"""Tests of Policy's revision 0003: a policy that was published before it and is sent again counts as the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_pb2 import Policy
from hutong.type.v1.purpose_pb2 import PURPOSE_HOTEL, PURPOSE_PUBLIC_VENUE
from sqlalchemy import text

from services.domain.instant import DAY, from_timestamp
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.serving.publisher import PolicyPublisher
from services.policy.store import PolicyStore
from services.runtime.clock import FixedClock
from services.storage.engine import open_database
from services.storage.migrate import upgrade
from tests.support.databases import PostgresServer
from tests.support.policy.publishers import make_request

BEFORE = "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184"
"""A hash of the former kind, which was made over JSON."""


def make_publication() -> PublishPolicyRequest:
    """Return a publication that lists its purposes out of order."""
    request = make_request()
    request.policy.purposes.extend([PURPOSE_HOTEL, PURPOSE_PUBLIC_VENUE])
    request.policy.source.document_number = "〔2022〕81号"
    return request


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a database at schema revision 0002 with one policy."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    made = server.make_empty() if isinstance(server, PostgresServer) else f"sqlite:///{tmp_path / 'policy.db'}"
    upgrade("policy", made, "0002")
    policy = Policy()
    policy.CopyFrom(make_publication().policy)
    start = from_timestamp(policy.effective_start_time)
    values = {
        "title": policy.title,
        "start": start,
        "statement": policy.SerializeToString(deterministic=True),
        "hash": BEFORE,
        "published": start - DAY,
        "floor": False,
    }
    database = open_database(made)
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO policies VALUES ('410100', 'venue', 1, :title, :floor, :start, NULL, :statement, :hash,"
                " '', :published, NULL, '')"
            ),
            values,
        )
        connection.execute(
            text("INSERT INTO policy_changes VALUES (1, '410100', 'venue', 1, :published)"), {"published": start - DAY}
        )
    database.close()
    return made


async def test_policy_published_before_is_recognised_when_it_is_sent_again(url: str) -> None:
    """The content hash is computed again from the stored policy, and other content becomes a new revision."""
    upgrade("policy", url)
    database = open_database(url)
    clock = FixedClock(from_timestamp(make_request().policy.effective_start_time) - DAY)
    store = PolicyStore(database)
    publisher = PolicyPublisher(store, PolicyBookCache(store, clock), "410000", clock)
    answered = (await publisher.publish(make_publication())).policy
    assert (answered.name, answered.revision) == ("jurisdictions/410100/policies/venue@1", 1)
    assert answered.content_hash != BEFORE
    changed = make_publication()
    changed.policy.title = "another"
    assert (await publisher.publish(changed)).policy.revision == 2
    database.close()
