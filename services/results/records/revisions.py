"""Writing further revisions: corrections one by one, recalls in steps that never hold an upload up."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, insert, literal, null, select, update

from services.domain.errors import FailedPrecondition, NotFound
from services.domain.instant import Instant
from services.domain.names import format_node, format_result
from services.results import tables
from services.results.corrections.rules import correct
from services.results.records.horizon import HORIZON, require_not_removed
from services.results.records.model import ACTIVE, RECALLED, SUPERSEDED, Correction, Recall, StoredResult
from services.storage.collation import in_byte_order

STEP = 2_000
"""Reports that one step of a recall looks at: some tens of milliseconds, in which only their keys are held."""

RECALLED_OUTCOME = 0
"""What a recalled report's key says: no upload may follow it, as the result of a sampling record would."""

_results = tables.results
_keys = tables.report_keys
COLUMNS = [getattr(_results.c, name) for name in StoredResult._fields]
IS_NEWEST = and_(
    _results.c.subject_key == _keys.c.subject_key,
    _results.c.file_time == _keys.c.file_time,
    _results.c.lab == _keys.c.lab,
    _results.c.report_number == _keys.c.report_number,
    _results.c.revision == _keys.c.revision,
)
"""Joins a report's key to the row of its newest revision."""


def find_history(connection: Connection, lab: str, report_number: str) -> list[StoredResult]:
    """All revisions of a report, oldest first; NotFound, FailedPrecondition. Holds the report until the commit."""
    key = connection.execute(
        select(_keys.c.subject_key, _keys.c.file_time)
        .where(_keys.c.lab == lab, _keys.c.report_number == report_number)
        .with_for_update()
    ).first()
    if key is None:
        raise NotFound.resource(format_result(lab, report_number))
    # Its newest revision may be gone though an older one, reported later, is kept.
    require_not_removed(connection, key.file_time)
    rows = connection.execute(
        select(*COLUMNS)
        .where(
            _results.c.subject_key == key.subject_key,
            _results.c.lab == lab,
            _results.c.report_number == report_number,
        )
        .order_by(_results.c.revision)
    )
    return [StoredResult._make(row) for row in rows]


def correct_result(connection: Connection, correction: Correction, now: Instant, node: str = "") -> StoredResult:
    """Write the next revision of a report, by the rules of `services.results.corrections.rules`.

    Raises:
        FailedPrecondition: NOT_THE_ORIGIN, it is another node's than this one, if that is named.
    """
    history = find_history(connection, correction.lab, correction.report_number)
    if node and history and history[-1].origin != node:
        origin = format_node(history[-1].origin)
        raise FailedPrecondition(
            "NOT_THE_ORIGIN", f"the report was received by {origin}, which alone corrects it", metadata={"node": origin}
        )
    next_ = correct(history, correction, now)
    require_not_removed(connection, next_.file_time)
    stated = {name: getattr(next_, name) for name in ("outcome", "sample_time", "report_time", "file_time")}
    its_key = and_(_keys.c.lab == correction.lab, _keys.c.report_number == correction.report_number)
    write_next_revisions(connection, its_key, stated | {"state": ACTIVE}, now)
    key = {"file_time": next_.file_time, "outcome": next_.outcome}
    advance_keys(connection, its_key, key, correction.reason, now)
    return next_


def recall_step(
    connection: Connection, recall: Recall, after: str, now: Instant, *, pretend: bool, node: str = ""
) -> tuple[list[tuple[str, int]], str | None]:
    """Take back what the recall names among the next STEP reports after `after`, of the named node's if one is.

    Returns what was taken back (or would be) with its new revision, and the report number to go on after; None at the
    end.
    """
    step = (_keys.c.lab == recall.lab, _keys.c.report_number > after)
    last = connection.execute(
        select(_keys.c.report_number).where(*step).order_by(_keys.c.report_number).offset(STEP - 1).limit(1)
    ).scalar()
    query = (
        select(_keys.c.report_number, _keys.c.revision)
        .where(
            *step,
            _keys.c.file_time >= recall.start_time,
            _keys.c.file_time < recall.end_time,
            _keys.c.outcome != RECALLED_OUTCOME,
            # What retention removes is not there to be taken back, and what it counts must not be changed any more.
            _keys.c.file_time >= func.coalesce(HORIZON.scalar_subquery(), _keys.c.file_time),
        )
        # As claims are made: two that hold the same reports wait for one another and never in a circle.
        .order_by(*in_byte_order(connection, _keys.c.report_number))
    )
    if last is not None:
        query = query.where(_keys.c.report_number <= last)
    if recall.outcomes:
        query = query.where(_keys.c.outcome.in_(recall.outcomes))
    if node:
        # What another node received that one takes back, and the copies here are told.
        query = query.where(~select(_results.c.lab).where(IS_NEWEST, _results.c.origin != node).exists())
    # Held before their results are looked at: what another transaction revises meanwhile is seen as that one left it.
    found = connection.execute(query if pretend else query.with_for_update()).all()
    if found and not pretend:
        their_keys = and_(_keys.c.lab == recall.lab, _keys.c.report_number.in_([row.report_number for row in found]))
        # Only the months concerned are opened.
        interval = (_results.c.file_time >= recall.start_time, _results.c.file_time < recall.end_time)
        write_next_revisions(connection, and_(their_keys, *interval), {"state": RECALLED}, now)
        advance_keys(connection, their_keys, {"outcome": RECALLED_OUTCOME}, recall.reason, now)
    return [(row.report_number, row.revision + 1) for row in found], last


def write_next_revisions(
    connection: Connection, which: ColumnElement[bool], stated: dict[str, Any], now: Instant
) -> None:
    """Put in the place of each newest revision one that differs in what is stated. The caller holds their keys."""
    values: dict[str, Any] = {name: literal(value, _results.c[name].type) for name, value in stated.items()}
    values |= {"revision": _results.c.revision + 1, "upload_time": literal(now), "nationwide_time": null()}
    columns = [column.name for column in _results.columns]
    copied = [values.get(name, _results.c[name]) for name in columns]
    connection.execute(
        insert(_results).from_select(columns, select(*copied).join_from(_keys, _results, IS_NEWEST).where(which))
    )
    connection.execute(update(_results).where(IS_NEWEST, which).values(state=SUPERSEDED))


def advance_keys(
    connection: Connection, which: ColumnElement[bool], stated: dict[str, Any], reason: str, now: Instant
) -> None:
    """Let keys point to the revisions that were written after those they name, and keep the reason for them."""
    connection.execute(update(_keys).where(which).values(revision=_keys.c.revision + 1, **stated))
    columns = ["lab", "report_number", "revision", "reason", "record_time"]
    why = select(_keys.c.lab, _keys.c.report_number, _keys.c.revision, literal(reason), literal(now)).where(which)
    connection.execute(insert(tables.revision_reasons).from_select(columns, why))
