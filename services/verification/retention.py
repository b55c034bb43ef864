"""Retention of Verification: removes old decisions, reported refusals and remembered requests.

A stored decision contains copies of results. When one of these results is removed, the decision is removed too,
however young it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.result_pb2 import TestResult
from hutong.verification.v1.decision_pb2 import DecisionInputs
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from sqlalchemy import Column, Connection, delete, func, or_, select

from services.domain.instant import DAY, HOUR, Instant, Span, from_timestamp, shanghai_day
from services.domain.names import is_uscc
from services.storage.deletion_counts import DeletionCounts, deletion_counts_table
from services.storage.engine import Database
from services.verification.cases.tables import evidence_cases
from services.verification.decision.evidence import canonical_report_number
from services.verification.decision_counts.tables import decision_counts
from services.verification.refusals.tables import refusal_outbox, refusals, requests
from services.verification.schema import metadata
from services.verification.showings.tables import evidence_flags, shown_reports
from services.verification.stored_decisions.tables import decisions

deletion_counts = deletion_counts_table(metadata, "verification")

_STEP = 500
"""The most rows that one transaction examines. The inputs of a decision take some kilobytes."""


@dataclass(frozen=True, slots=True)
class RetentionAges:
    """How long each kind of row is kept at most."""

    decisions: Span
    refusals: Span
    requests: Span
    shown_reports: Span
    cases: Span = 730 * DAY
    decision_counts: Span = 400 * DAY


@dataclass(frozen=True, slots=True)
class Removed:
    """How many rows of each kind a purge removed."""

    decisions: int
    refusals: int
    requests: int
    shown_reports: int
    evidence_flags: int
    cases: int
    decision_counts: int


ReportName: TypeAlias = tuple[str, str]
"""Code of the laboratory and report number. The code is empty if evidence does not show it."""


class Purge(NamedTuple):
    """One purge of Verification.

    Attributes:
        horizon: the results' horizon.
        now: the time from which ages count.
        deletion_id: the id of the deletion record, under which the removed rows are counted.
        find_removed: returns those of the given reports that the purge removes from Results. The times in evidence may
            be wrong or absent, so they do not show which reports are removed.
    """

    horizon: Instant
    now: Instant
    deletion_id: str
    find_removed: Callable[[Collection[ReportName]], Collection[ReportName]] = lambda _: ()


def purge_verification(database: Database, ages: RetentionAges, purge: Purge) -> Removed:
    """Remove rows that are too old, and decisions that copy or name a report which Results is about to purge.

    Call this function while Results still has the keys of these reports. A purge may be stopped at any time; the next
    purge removes the rest.
    """
    counts = DeletionCounts(deletion_counts, purge.deletion_id)
    oldest = purge.now - ages.requests, purge.now - ages.refusals
    return Removed(
        _repeat(database, decisions.c.uuid, partial(_remove_decisions, counts, purge, purge.now - ages.decisions)),
        _repeat(database, refusals.c.uuid, partial(_remove_refusals, counts, purge.now - ages.refusals)),
        # A remembered answer contains the refusal, so it is kept no longer than the refusal.
        database.write_now(_remove_requests, counts, max(oldest)),
        database.write_now(_remove_shown_reports, counts, purge.now - ages.shown_reports),
        database.write_now(_remove_flags, counts),
        _repeat(database, evidence_cases.c.uuid, partial(_remove_cases, counts, purge, purge.now - ages.cases)),
        _remove_decision_counts(database, counts, (purge.now - ages.decision_counts) // HOUR),
    )


def _remove_decision_counts(database: Database, counts: DeletionCounts, first_hour: int) -> int:
    """Remove the counts of the hours before `first_hour`, one hour in each transaction. Return the number of rows."""
    hour = decision_counts.c.hour
    oldest = select(func.min(hour)).where(hour < first_hour)
    removed = 0
    while (at := database.read_now(lambda connection: connection.execute(oldest).scalar())) is not None:
        removed += database.write_now(_remove_hour, counts, at)
    return removed


def _remove_hour(connection: Connection, counts: DeletionCounts, hour: int) -> int:
    gone = delete(decision_counts).where(decision_counts.c.hour == hour)
    return counts.add(connection, decision_counts.name, connection.execute(gone).rowcount)


def _repeat(database: Database, uuid: Column[str], step: Callable[[Connection, list[str]], int]) -> int:
    """Run a step for all rows of a table, _STEP rows in each transaction. Return how many rows were removed."""
    count, after = 0, ""
    while True:
        found = database.read_now(_next_uuids, uuid, after)
        if not found:
            return count
        count += database.write_now(step, found)
        after = found[-1]


def _next_uuids(connection: Connection, uuid: Column[str], after: str) -> list[str]:
    return list(connection.execute(select(uuid).where(uuid > after).order_by(uuid).limit(_STEP)).scalars())


def _remove_decisions(
    counts: DeletionCounts, purge: Purge, oldest: Instant, connection: Connection, uuids: list[str]
) -> int:
    query = select(decisions.c.uuid, decisions.c.inputs).where(decisions.c.uuid.in_(uuids))
    inputs = {row.uuid: DecisionInputs.FromString(row.inputs) for row in connection.execute(query)}
    copying = {uuid for uuid, one in inputs.items() if _oldest_copy(one) < purge.horizon}
    named = {uuid: set(_names_shown(one)) for uuid, one in inputs.items() if uuid not in copying}
    removed = set(purge.find_removed({name for names in named.values() for name in names}))
    copying |= {uuid for uuid, names in named.items() if not removed.isdisjoint(names)}
    old = decisions.c.evaluate_time < oldest
    gone = delete(decisions).where(decisions.c.uuid.in_(uuids), or_(old, decisions.c.uuid.in_(copying)))
    return counts.add(connection, decisions.name, connection.execute(gone).rowcount)


def _remove_refusals(counts: DeletionCounts, oldest: Instant, connection: Connection, uuids: list[str]) -> int:
    gone = delete(refusals).where(refusals.c.uuid.in_(uuids), refusals.c.create_time < oldest)
    stored = select(refusals.c.uuid).where(refusals.c.uuid == refusal_outbox.c.uuid).exists()
    removed = connection.execute(gone).rowcount
    connection.execute(delete(refusal_outbox).where(refusal_outbox.c.uuid.in_(uuids), ~stored))
    return counts.add(connection, refusals.name, removed)


def _remove_cases(
    counts: DeletionCounts, purge: Purge, oldest: Instant, connection: Connection, uuids: list[str]
) -> int:
    """Remove cases beyond their age, and cases of reports that the purge removes from Results."""
    table = evidence_cases
    query = select(table.c.uuid, table.c.lab, table.c.report_number).where(table.c.uuid.in_(uuids))
    names = {row.uuid: (row.lab, row.report_number) for row in connection.execute(query)}
    removed = set(purge.find_removed(set(names.values())))
    naming = [uuid for uuid, name in names.items() if name in removed]
    old = table.c.create_time < oldest
    gone = delete(table).where(table.c.uuid.in_(uuids), or_(old, table.c.uuid.in_(naming)))
    return counts.add(connection, table.name, connection.execute(gone).rowcount)


def _remove_requests(connection: Connection, counts: DeletionCounts, oldest: Instant) -> int:
    gone = delete(requests).where(requests.c.create_time < oldest)
    return counts.add(connection, requests.name, connection.execute(gone).rowcount)


def _remove_shown_reports(connection: Connection, counts: DeletionCounts, oldest: Instant) -> int:
    """Forget the reports whose first showing was on a day that ended before an instant."""
    gone = delete(shown_reports).where(shown_reports.c.show_day < shanghai_day(oldest))
    return counts.add(connection, shown_reports.name, connection.execute(gone).rowcount)


def _remove_flags(connection: Connection, counts: DeletionCounts) -> int:
    """Remove the flags of decisions that are no longer stored."""
    stored = select(decisions.c.uuid).where(decisions.c.uuid == evidence_flags.c.decision).exists()
    return counts.add(
        connection, evidence_flags.name, connection.execute(delete(evidence_flags).where(~stored)).rowcount
    )


def _oldest_copy(inputs: DecisionInputs) -> Instant:
    """Return the earliest reference time of the reports that a decision copies or names.

    If there is no such time, return the decision's own time.
    """
    return min([from_timestamp(time) for time in _times(inputs)], default=from_timestamp(inputs.evaluate_time))


def _times(inputs: DecisionInputs) -> Iterator[Timestamp]:
    reports: list[TestResult | PresentedEvidence] = [*inputs.records, *inputs.evidence]
    for claim in inputs.claims:
        for field, value in claim.ListFields():
            # A claim copies records in several fields.
            if field.message_type is TestResult.DESCRIPTOR:
                reports += [value] if isinstance(value, TestResult) else value
    for report in reports:
        # The reference time of a result is its report time; without a report time, its sample time.
        if report.HasField("report_time"):
            yield report.report_time
        elif report.HasField("sample_time"):
            yield report.sample_time


def _names_shown(inputs: DecisionInputs) -> Iterator[ReportName]:
    """Yield the reports that evidence names. Records are left out, because their times are known."""
    for shown in inputs.evidence:
        if shown.report_number:
            code = shown.lab.removeprefix("labs/")
            yield code if is_uscc(code) else "", canonical_report_number(shown.report_number)
