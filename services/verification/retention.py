"""Retention of Verification: removes old decisions, reported refusals and remembered requests.

Stored decisions have copies of results. A copy is removed with the results themselves, however young the decision is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.result_pb2 import TestResult
from hutong.verification.v1.decision_pb2 import DecisionInputs
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from sqlalchemy import Column, Connection, delete, or_, select

from services.domain.instant import Instant, Span, from_timestamp
from services.storage.engine import Database
from services.verification.refusals.tables import refusals, requests
from services.verification.verify.tables import decisions

_STEP = 500
"""Rows that one transaction examines. A decision's inputs have some kilobytes."""


@dataclass(frozen=True, slots=True)
class RetentionAges:
    """How long each kind of row is kept at most."""

    decisions: Span
    refusals: Span
    requests: Span


@dataclass(frozen=True, slots=True)
class Removed:
    """How many rows of each kind a purge removed."""

    decisions: int
    refusals: int
    requests: int


def purge_verification(database: Database, horizon: Instant, ages: RetentionAges, now: Instant) -> Removed:
    """Remove rows beyond their age, and decisions that copy or name a report from before the results' horizon.

    It may be stopped at any time; the next one removes the rest.
    """
    return Removed(
        _repeat(database, decisions.c.uuid, partial(_remove_decisions, horizon, now - ages.decisions)),
        _repeat(database, refusals.c.uuid, partial(_remove_refusals, now - ages.refusals)),
        database.write_now(_remove_requests, now - min(ages.requests, ages.refusals)),
    )


def _repeat(database: Database, uuid: Column[str], step: Callable[[Connection, list[str]], int]) -> int:
    """Run a step for all rows of a table by their UUIDs, a transaction for each few. Return how many were removed."""
    count, after = 0, ""
    while True:
        found = database.read_now(_next_uuids, uuid, after)
        if not found:
            return count
        count += database.write_now(step, found)
        after = found[-1]


def _next_uuids(connection: Connection, uuid: Column[str], after: str) -> list[str]:
    return list(connection.execute(select(uuid).where(uuid > after).order_by(uuid).limit(_STEP)).scalars())


def _remove_decisions(horizon: Instant, oldest: Instant, connection: Connection, uuids: list[str]) -> int:
    query = select(decisions.c.uuid, decisions.c.inputs).where(decisions.c.uuid.in_(uuids))
    copying = [row.uuid for row in connection.execute(query) if _oldest_copy(bytes(row.inputs)) < horizon]
    old = decisions.c.evaluate_time < oldest
    removed = delete(decisions).where(decisions.c.uuid.in_(uuids), or_(old, decisions.c.uuid.in_(copying)))
    return connection.execute(removed).rowcount


def _remove_refusals(oldest: Instant, connection: Connection, uuids: list[str]) -> int:
    removed = delete(refusals).where(refusals.c.uuid.in_(uuids), refusals.c.create_time < oldest)
    return connection.execute(removed).rowcount


def _remove_requests(connection: Connection, oldest: Instant) -> int:
    return connection.execute(delete(requests).where(requests.c.create_time < oldest)).rowcount


def _oldest_copy(serialized: bytes) -> Instant:
    """Return the earliest reference time of the reports that a decision copies or names; its own time without any."""
    inputs = DecisionInputs.FromString(serialized)
    return min([from_timestamp(time) for time in _times(inputs)], default=from_timestamp(inputs.evaluate_time))


def _times(inputs: DecisionInputs) -> Iterator[Timestamp]:
    reports: list[TestResult | PresentedEvidence] = [*inputs.records, *inputs.evidence]
    reports += [claim.test_result for claim in inputs.claims if claim.HasField("test_result")]
    for report in reports:
        # The reference time of a result is its report time, or its sample time without one.
        if report.HasField("report_time"):
            yield report.report_time
        elif report.HasField("sample_time"):
            yield report.sample_time
