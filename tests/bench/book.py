"""Made-up policies for the whole nation, loaded into a database in bulk as the rows that publication would write."""

from __future__ import annotations

from functools import cache

from hutong.policy.v1 import policy_pb2
from hutong.type.v1 import channel_pb2, purpose_pb2, refusal_ground_pb2
from sqlalchemy import insert

from services.domain.instant import DAY
from services.domain.region import is_region
from services.policy import tables
from services.policy.changes import change_row, policy_row
from services.policy.convert import bare_statement, revision_from_proto
from services.runtime.clock import SystemClock
from services.storage.engine import open_database

JURISDICTIONS = 3_000
PURPOSES = [number for number in purpose_pb2.Purpose.values() if number]


@cache
def regions() -> list[str]:
    """Return 3,000 provinces, prefectures and counties of GB/T 2260, in the order of their codes."""
    numbers = (number for number in range(110_000, 660_000) if number % 100 < 40 and number // 100 % 100 < 40)
    found = (f"{number}" for number in numbers if is_region(f"{number}"))
    return [next(found) for _ in range(JURISDICTIONS)]


def make_policy(region: str, purpose: int, *, title: str, floor: bool = False) -> policy_pb2.Policy:
    """Return a policy as cities publish them, for one purpose (0 for all), without its start."""
    policy = policy_pb2.Policy(
        name=f"jurisdictions/{region}/policies/purpose-{purpose}",
        title=title,
        purposes=[purpose] if purpose else [],  # type: ignore[list-item]
        channels=[] if floor else [channel_pb2.CHANNEL_STATE_COUNCIL_CLIENT, channel_pb2.CHANNEL_PAPER_REPORT],
        forbidden_grounds=[refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY],
        advice=[] if floor else ["Three tests within the five days after arrival."],
        floor=floor,
    )
    policy.source.title = "made up for a bench"
    window = policy.test_required.window
    window.basis = policy_pb2.VALIDITY_BASIS_REPORT_TIME
    if not floor:
        window.duration.seconds = 86_400 * (1 + purpose % 3)
    return policy


def load_book(url: str) -> None:
    """Fill a migrated, empty database with 3,000 x 12 policies.

    A test in tests/storage compares the rows with those of publications.
    """
    now = SystemClock().now()
    policies, changes = [], []
    for region in regions():
        for purpose in PURPOSES:
            policy = make_policy(region, purpose, title="example window: made up for a bench")
            policy.effective_start_time.seconds = (now - DAY) // 1_000_000
            statement = bare_statement(policy)
            revision = revision_from_proto(statement, 1, now, "made up")
            policies.append(policy_row(revision, statement))
            changes.append(change_row(revision, len(changes) + 1, now, life=""))
    database = open_database(url)
    database.write_now(
        lambda connection: [
            connection.execute(insert(tables.policies), policies),
            connection.execute(insert(tables.policy_changes), changes),
        ]
    )
    database.close()
