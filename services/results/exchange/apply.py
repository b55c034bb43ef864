"""Storing what another node passed on, any number of times, with the effect of once.

A writer's changes come in order, those of several writers in any. A report belongs to the node that received it first.
Of its revisions the greatest counts, whichever comes first; of two with one number, which a node restored from an older
copy writes, the later: at the nation it becomes the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, islice
from operator import attrgetter

from sqlalchemy import Connection

from services.domain.instant import Instant
from services.results.changelog.log import ChangeLog, append_entry
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.documents.model import DocumentLink
from services.results.documents.store import link_change
from services.results.exchange.apply_registers import receive_lab, receive_link
from services.results.exchange.model import Change, Replica, ReplicaTubes
from services.results.exchange.result_writer import Applied, Arrival, FormedTubes, ResultWriter
from services.results.labs.model import Lab
from services.results.missing_reports.model import MissingReport
from services.results.missing_reports.routing import MissingReportRouter, missing_report_changes
from services.results.records.bulk import Bulk, CommitColumns, bulk_for, claim_all
from services.results.records.horizon import read_horizon
from services.results.records.model import ACTIVE, PENDING, NewResult
from services.results.records.row_format import RowForm, row_form
from services.results.timeliness.delays import record_delays, record_national_delays


class ChangeApplier:
    """Stores what another node passed on, tells subscribers, and logs results."""

    def __init__(self, change_log: ChangeLog, router: MissingReportRouter) -> None:
        self._change_log = change_log
        self._router = router

    def apply(
        self,
        connection: Connection,
        changes: Sequence[Change],
        arrival: Arrival,
        tubes: Sequence[FormedTubes] = (),
    ) -> Applied:
        """Store tubes and then changes, log what is new, and tell who subscribes. All locks are taken in one order."""
        applied = Applied()
        _receive_registers(connection, changes, arrival)
        _store_results(connection, changes, tubes, arrival, applied)
        if arrival.at_nation:
            _count_delays(connection, applied, arrival)
        missing = [change for change in changes if isinstance(change, MissingReport)]
        passed_on = self._router.receive(connection, missing, arrival.sender) if missing else []
        usccs = {change.uscc for change in changes if isinstance(change, Lab)}
        passed_on += self._router.receive_labs(connection, usccs) if usccs else []
        results = [
            LoggedChange(ChangeKind.RESULTS, lab, names, keys, arrival.sender)
            for lab, (names, keys) in sorted(applied.by_lab().items())
        ]
        links = [link_change(change, arrival.sender) for change in changes if isinstance(change, DocumentLink)]
        self._change_log.notify(connection, [*results, *links, *missing_report_changes(passed_on)], arrival.now)
        for change in results:
            append_entry(connection, change.lab, change.names, arrival.now)
        return applied


def _receive_registers(connection: Connection, changes: Sequence[Change], arrival: Arrival) -> None:
    for change in changes:
        if isinstance(change, Lab):
            receive_lab(connection, change, arrival.sender)
        elif isinstance(change, DocumentLink):
            receive_link(connection, change)


def _store_results(
    connection: Connection,
    changes: Sequence[Change],
    tubes: Sequence[FormedTubes],
    arrival: Arrival,
    applied: Applied,
) -> None:
    """Store tubes in bulk where all of their reports are new, and everything else result by result."""
    horizon = read_horizon(connection)
    kept = [
        change
        for change in changes
        if isinstance(change, Replica) and (horizon is None or change.result.reference_time >= horizon)
    ]
    bulk, form = bulk_for(connection), row_form(connection.dialect.name)
    of_lab = attrgetter("result.lab")
    of_tube_lab = attrgetter("tubes.lab")
    for _, group in groupby(sorted(tubes, key=of_tube_lab), of_tube_lab):
        some = list(group)
        all_kept = horizon is None or min(time for formed in some for time in formed.tubes.reference_times()) >= horizon
        if all_kept and _file_tubes(connection, bulk, some, arrival):
            applied.tubes += [formed.tubes for formed in some]
        else:
            each = (replica for formed in some for replica in formed.tubes.replicas())
            kept += [replica for replica in each if horizon is None or replica.result.reference_time >= horizon]
    for lab, replicas in groupby(sorted(kept, key=of_lab), of_lab):
        ResultWriter(connection, bulk, form, lab, arrival, applied).write(list(replicas))


def form_tubes(form: RowForm, tubes: ReplicaTubes) -> FormedTubes:
    """The rows of tubes' persons as an engine takes them."""
    lab, key_version = tubes.lab, tubes.key_version
    persons = zip(tubes.report_numbers, tubes.subject_keys, tubes.content_hashes, strict=True)
    rows: list[NewResult] = []
    for tube, size in zip(tubes.tubes, tubes.sizes, strict=True):
        of_tube, reference_time, outcome = form.form_tube(tube), tube.reference_time, tube.outcome
        for number, subject_key, content_hash in islice(persons, size):
            key_row = form.form_key(lab, number, subject_key, reference_time, outcome, content_hash)
            result_row = form.form_result((subject_key, lab, number, key_version, b"", "", ""), of_tube)
            rows.append(
                NewResult(0, 0, number, subject_key, reference_time, outcome, content_hash, key_row, result_row)
            )
    return FormedTubes(tubes, rows)


def _file_tubes(connection: Connection, bulk: Bulk, some: Sequence[FormedTubes], arrival: Arrival) -> bool:
    """File a laboratory's tubes in bulk, if every report of them is new here: otherwise nothing, and False."""
    rows = [row for formed in some for row in formed.rows]
    rows.sort(key=attrgetter("report_number"))
    # A number that stands twice among them fails as one that is taken does.
    if not claim_all(connection, bulk, rows):
        return False
    national_receive_time = arrival.now if arrival.at_nation else None
    for tubes, of_commit in some:
        filing = CommitColumns(tubes.upload_time, tubes.source_node, 1, ACTIVE, national_receive_time)
        bulk.insert_results(connection, of_commit, filing)
    return True


def _count_delays(connection: Connection, applied: Applied, arrival: Arrival) -> None:
    """How long reports took to their node and from there to the nation: what laboratories uploaded, as there."""
    by_commit: dict[tuple[str, Instant], list[Instant]] = {}
    for tubes in applied.tubes:
        by_commit.setdefault((tubes.lab, tubes.upload_time), []).extend(tubes.report_times())
    for replica in uploads_among(applied.stored):
        result = replica.result
        by_commit.setdefault((result.lab, result.upload_time), []).append(result.reference_time)
    for (lab, upload_time), report_times in sorted(by_commit.items()):
        record_delays(connection, lab, report_times, upload_time)
        record_national_delays(connection, lab, report_times, arrival.now - upload_time)


def uploads_among(changes: Sequence[Change]) -> list[Replica]:
    """Reports as their laboratories uploaded them, and no later correction or recall."""
    replicas = [change for change in changes if isinstance(change, Replica) and change.result.outcome != PENDING]
    return [replica for replica in replicas if replica.result.revision == (2 if replica.sampling_hash else 1)]
