"""Writing further revisions: corrections one by one, recalls in steps that never hold an upload up."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, insert, select, tuple_, update

from services.domain.errors import NotFound
from services.domain.instant import Instant
from services.domain.names import format_result
from services.results import tables
from services.results.correction import correct
from services.results.model import ACTIVE, RECALLED, SUPERSEDED, Correction, Recall, StoredResult

STEP = 2_000
"""Reports that one step of a recall looks at: some tens of milliseconds, in which only their rows are held."""

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
    """All revisions of a report, oldest first; NotFound when there is none. Holds the report until the commit."""
    key = connection.execute(
        select(_keys.c.subject_key).where(_keys.c.lab == lab, _keys.c.report_number == report_number).with_for_update()
    ).first()
    if key is None:
        raise NotFound.resource(format_result(lab, report_number))
    rows = connection.execute(
        select(*COLUMNS)
        .where(
            _results.c.subject_key == key.subject_key,
            _results.c.lab == lab,
            _results.c.report_number == report_number,
        )
        .order_by(_results.c.revision)
    )
    return [StoredResult(*row) for row in rows]


def correct_result(connection: Connection, correction: Correction, now: Instant) -> StoredResult:
    """Write the next revision of a report, by the rules of `services.results.correction`."""
    history = find_history(connection, correction.lab, correction.report_number)
    next_ = correct(history, correction, now)
    write_revisions(connection, history[-1:], [next_], correction.reason, now)
    return next_


def recall_step(
    connection: Connection, recall: Recall, after: str, now: Instant, *, pretend: bool
) -> tuple[list[StoredResult], str | None]:
    """Take back what the recall names among the next STEP reports after `after`.

    Returns what was taken back (or would be), and the report number to go on after; None at the end.
    """
    numbers = list(
        connection.execute(
            select(_keys.c.report_number)
            .where(_keys.c.lab == recall.lab, _keys.c.report_number > after)
            .order_by(_keys.c.report_number)
            .limit(STEP)
        ).scalars()
    )
    if not numbers:
        return [], None
    query = (
        select(*COLUMNS)
        .join_from(_keys, _results, IS_NEWEST)
        .where(
            _keys.c.lab == recall.lab,
            _keys.c.report_number > after,
            _keys.c.report_number <= numbers[-1],
            _keys.c.file_time >= recall.start_time,
            _keys.c.file_time < recall.end_time,
            # Said again of the partitioned table, so that only the months concerned are opened.
            _results.c.file_time >= recall.start_time,
            _results.c.file_time < recall.end_time,
            _results.c.state == ACTIVE,
        )
        .order_by(_keys.c.report_number)
    )
    if recall.outcomes:
        query = query.where(_results.c.outcome.in_(recall.outcomes))
    if not pretend:
        query = query.with_for_update(of=_keys)
    found = [StoredResult(*row) for row in connection.execute(query)]
    if pretend or not found:
        return found, numbers[-1]
    recalled = [
        old._replace(revision=old.revision + 1, state=RECALLED, upload_time=now, nationwide_time=None) for old in found
    ]
    write_revisions(connection, found, recalled, recall.reason, now)
    return recalled, numbers[-1]


def write_revisions(
    connection: Connection, olds: Sequence[StoredResult], news: Sequence[StoredResult], reason: str, now: Instant
) -> None:
    """Put each new revision in the place of its old one, whose key the caller holds."""
    place = tuple_(_results.c.subject_key, _results.c.file_time, _results.c.lab, _results.c.report_number)
    for start in range(0, len(olds), 500):
        some = olds[start : start + 500]
        hidden = select(
            _results.c.subject_key,
            _results.c.lab,
            _results.c.report_number,
            _results.c.key_version,
            _results.c.revision,
            _results.c.name_hash,
        ).where(place.in_([(old.subject_key, old.file_time, old.lab, old.report_number) for old in some]))
        kept = {
            (row.subject_key, row.lab, row.report_number, row.revision): (row.key_version, row.name_hash)
            for row in connection.execute(hidden)
        }
        connection.execute(
            update(_results)
            .where(
                place.in_([(old.subject_key, old.file_time, old.lab, old.report_number) for old in some]),
                _results.c.state == ACTIVE,
            )
            .values(state=SUPERSEDED)
        )
        rows = []
        for old, new in zip(some, news[start : start + 500], strict=True):
            key_version, name_hash = kept[old.subject_key, old.lab, old.report_number, old.revision]
            rows.append(new._asdict() | {"key_version": key_version, "name_hash": name_hash})
        connection.execute(insert(_results), rows)
    connection.execute(
        update(_keys)
        .where(_keys.c.lab == bindparam("its_lab"), _keys.c.report_number == bindparam("its_number"))
        .values(file_time=bindparam("filed"), revision=bindparam("next"), outcome=bindparam("says")),
        [
            {
                "its_lab": new.lab,
                "its_number": new.report_number,
                "filed": new.file_time,
                "next": new.revision,
                "says": RECALLED_OUTCOME if new.state == RECALLED else new.outcome,
            }
            for new in news
        ],
    )
    connection.execute(
        insert(tables.revision_reasons),
        [
            {
                "lab": new.lab,
                "report_number": new.report_number,
                "revision": new.revision,
                "reason": reason,
                "record_time": now,
            }
            for new in news
        ],
    )
