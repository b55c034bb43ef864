"""Statements that write new revisions of reports, and that remove reports."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, literal, null, select, tuple_, update

from services.domain.instant import Instant
from services.results.records import tables
from services.results.records.model import SUPERSEDED
from services.results.records.queries import KeyedReport, are_newest, find_keyed

_results = tables.results
_keys = tables.report_keys


def write_next_revisions(
    connection: Connection, keyed: Collection[KeyedReport], stated: dict[str, Any], now: Instant
) -> None:
    """Write the next revision of each report, and supersede the previous revision.

    The `stated` columns get new values. The reports are of one laboratory. The caller has locked their keys.
    """
    # The rows that the first statement writes are newest revisions too. The numbers of the older revisions keep the
    # second statement from superseding them.
    revisions = [(one.report_number, one.revision) for one in keyed]
    which = and_(are_newest(keyed), tuple_(_results.c.report_number, _results.c.revision).in_(revisions))
    values: dict[str, Any] = {name: literal(value, _results.c[name].type) for name, value in stated.items()}
    values |= {"revision": _results.c.revision + 1, "upload_time": literal(now), "national_receive_time": null()}
    columns = [column.name for column in _results.columns]
    copied = [values.get(name, _results.c[name]) for name in columns]
    connection.execute(insert(_results).from_select(columns, select(*copied).where(which)))
    connection.execute(update(_results).where(which).values(state=SUPERSEDED))


def advance_keys(
    connection: Connection,
    which: ColumnElement[bool],
    stated: dict[str, Any],
    reason: str,
    now: Instant,
    actor: str | None = None,
    approver: str | None = None,
) -> None:
    """Record in `report_keys` the newest revisions, which `write_next_revisions` has written.

    Record also the reason of each revision, its actor and the approver of the change.
    """
    connection.execute(update(_keys).where(which).values(revision=_keys.c.revision + 1, **stated))
    columns = ["lab", "report_number", "revision", "reason", "record_time", "actor", "approver"]
    stated_by = [literal(name, tables.revision_reasons.c.actor.type) for name in (actor, approver)]
    names = (_keys.c.lab, _keys.c.report_number, _keys.c.revision)
    why = select(*names, literal(reason), literal(now), *stated_by).where(which)
    connection.execute(insert(tables.revision_reasons).from_select(columns, why))


def remove_reports(connection: Connection, lab: str, report_numbers: Sequence[str]) -> None:
    """Remove these reports with all revisions and keys. Their numbers become free. The caller has locked the keys."""
    reasons = tables.revision_reasons
    for start in range(0, len(report_numbers), 500):
        numbers = report_numbers[start : start + 500]
        subjects = {one.subject_key for one in find_keyed(connection, lab, numbers)}
        revisions = (
            _results.c.subject_key.in_(subjects),
            _results.c.lab == lab,
            _results.c.report_number.in_(numbers),
        )
        connection.execute(delete(_results).where(*revisions))
        connection.execute(delete(reasons).where(reasons.c.lab == lab, reasons.c.report_number.in_(numbers)))
        connection.execute(delete(_keys).where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers)))
