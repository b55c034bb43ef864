"""Apply changes that another node sent. Applying the same changes again has no further effect.

Changes of one writer arrive in order; changes of several writers arrive in any order. A report belongs to the node that
received it first, unless its laboratory's home sends it later. The revision with the greatest number counts, in
whatever order revisions arrive. A node that was restored from an older copy may send another revision under a number
that is known already. Of these two revisions the later written one counts, and the node above stores it under the next
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from hutong.exchange.v1.replica_pb2 import ReplicatedTubes
from sqlalchemy import Connection, func, select

from services.domain.instant import Instant
from services.results.changelog.append import NewEntry, append_barrier, append_entries
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange, PositionBelow
from services.results.changelog.packing import pack_other_keys
from services.results.documents.model import DocumentLink
from services.results.documents.store import find_links, link_change, record_linked_pairs
from services.results.exchange.apply_registers import LinkEffect, leave_out_known_links, receive_lab, receive_link
from services.results.exchange.arrival import Applied, Arrival, FormedTubes
from services.results.exchange.homes.authority import set_aside_foreign
from services.results.exchange.lab_answers import receive_answers
from services.results.exchange.model import Change, Replica, ReplicaTubes
from services.results.exchange.result_writer import ResultWriter
from services.results.labs.copies import store_copies
from services.results.labs.model import Lab
from services.results.limits import ResultsLimits
from services.results.missing_reports.model import MissingReport
from services.results.missing_reports.routing import (
    MissingReportRouter,
    RoutedReports,
    listed_report_changes,
    missing_report_changes,
)
from services.results.records.bulk import Bulk, CommitColumns, bulk_for, claim_all
from services.results.records.horizon import read_horizon
from services.results.records.model import ACTIVE, PENDING
from services.results.records.new_results import NewResults, ResultColumns
from services.results.records.row_columns import NewColumns
from services.results.records.row_format import row_form
from services.results.records.tables import pepper_marks
from services.results.timeliness.delays import record_delays, record_national_delays

_OLDEST_VERSION = select(func.min(pepper_marks.c.key_version))


class NotAllNew(Exception):
    """Not all results are new here, and the caller wants to store nothing then."""


class ChangeApplier:
    """Stores the changes of another node, notifies the subscribers of the change log, and logs new results.

    If `relays` is set, this node has a node above it. It then logs everything that a node below sends, so that these
    changes go to the node above too.
    """

    def __init__(
        self,
        change_log: ChangeLog,
        router: MissingReportRouter,
        *,
        relays: bool = False,
        limits: ResultsLimits | None = None,
    ) -> None:
        self._change_log = change_log
        self._router = router
        self._relays = relays
        self._limits = limits or ResultsLimits()

    def apply(
        self,
        connection: Connection,
        changes: Sequence[Change],
        arrival: Arrival,
        tubes: Sequence[FormedTubes] = (),
        positions: Sequence[PositionBelow] = (),
        *,
        all_new: bool = False,
    ) -> Applied:
        """Store registers, then tubes and results, then missing reports. Log what is new, and notify subscribers.

        Changes that a node below may not make are set aside first. Every call takes its locks in the same order. The
        caller commits. `positions` are the positions that nodes below have reached with these changes. This node sends
        the positions to the node above.

        Raises:
            NotAllNew: only if `all_new` is set. A result in tubes is not new, or retention removes such results.
        """
        applied = Applied()
        if arrival.from_below:
            changes, tubes, not_its_own = set_aside_foreign(connection, changes, tubes, arrival)
            applied.not_its_own[arrival.sender] += not_its_own
        _receive_registers(connection, changes, arrival, applied)
        _store_results(connection, changes, tubes, arrival, applied, all_new=all_new)
        if arrival.from_below:
            _count_delays(connection, applied, arrival)
        reports = [change for change in changes if isinstance(change, MissingReport)]
        answered = [report for report in reports if report.answer is not None]
        answers = receive_answers(connection, answered, arrival, self._limits, applied)
        # A change with an answer does not announce a missing report, but may state that the missing report has ended.
        missing = [report for report in reports if report.answer is None or report.close_time is not None]
        routed = self._router.receive(connection, missing, arrival.sender) if missing else RoutedReports()
        passed_on = [*routed.passed_on]
        if applied.received_labs:
            passed_on += self._router.receive_labs(connection, set(applied.received_labs))
        adverse, others = applied.adverse_keys(), applied.other_keys()
        # The store keeps both keys of a document only if the document has links.
        record_linked_pairs(connection, list(others.items()))
        results = [
            LoggedChange(
                ChangeKind.RESULTS,
                lab,
                names,
                keys,
                arrival.sender,
                adverse_keys=adverse.get(lab, ()),
                other_keys={key: others[key] for key in keys if key in others} if others else {},
            )
            for lab, (names, keys) in sorted(applied.by_lab().items())
        ]
        missing_changes = [*missing_report_changes(passed_on), *answers]
        self._change_log.notify(connection, [*results, *applied.labs, *applied.links, *missing_changes], arrival.now)
        to_log = [*missing_changes, *listed_report_changes(routed.listed)]
        self._log(connection, results, to_log, applied, arrival, positions)
        return applied

    def _log(
        self,
        connection: Connection,
        results: Sequence[LoggedChange],
        missing: Sequence[LoggedChange],
        applied: Applied,
        arrival: Arrival,
        positions: Sequence[PositionBelow],
    ) -> None:
        """Make the entries of the log. The last entry has the positions.

        If there are positions but no changes, an entry is made for the positions alone.
        """
        now = arrival.now
        entries = [
            NewEntry(
                one.lab,
                one.names,
                now,
                other_keys=pack_other_keys(one) if self._relays and one.other_keys else None,
            )
            for one in results
        ]
        # Only this node states to the node above that a link of its own has ended, and it passes on requests to end
        # links of other nodes. Both go through the log.
        ended = [(link.link_id, 0) for link in (*applied.ended_links, *applied.links_to_end)]
        if self._relays and arrival.from_below:
            entries.append(NewEntry("", [(uscc, 0) for uscc in applied.received_labs], now, ChangeKind.LABS))
            ended += [name for change in applied.links for name in change.names]
            entries += [NewEntry(one.lab, one.names, now, one.kind) for one in missing]
        entries = [one for one in (*entries, NewEntry("", ended, now, ChangeKind.LINKS)) if one.reports]
        relayed = positions if self._relays else ()
        if entries:
            reached = append_entries(connection, [*entries[:-1], entries[-1]._replace(positions_below=relayed)])
            if self._relays and arrival.from_below:
                for entry, position in zip(entries, reached, strict=True):
                    if entry.kind is ChangeKind.RESULTS:
                        applied.note_logged(entry.lab, entry.reports, position)
        elif relayed:
            append_barrier(connection, now, relayed)


def _receive_registers(connection: Connection, changes: Sequence[Change], arrival: Arrival, applied: Applied) -> None:
    if not arrival.from_below:
        copies = [change for change in changes if isinstance(change, Lab)]
        store_copies(connection, copies, arrival.node)
        names = sorted({(change.uscc, 0) for change in copies})
        if names:
            applied.labs.append(LoggedChange(ChangeKind.LABS, "", names, source=arrival.sender))
        changes = leave_out_known_links(connection, changes, arrival)
    for change in changes:
        if isinstance(change, Lab) and arrival.from_below:
            received = receive_lab(connection, change, arrival)
            applied.received_labs.append(change.uscc)
            applied.second_registration_count += received.is_second
            if received.is_changed:
                applied.labs.append(LoggedChange(ChangeKind.LABS, "", [(change.uscc, 0)], source=arrival.sender))
        elif isinstance(change, DocumentLink):
            _receive_link(connection, change, arrival, applied)


def _receive_link(connection: Connection, link: DocumentLink, arrival: Arrival, applied: Applied) -> None:
    effect = receive_link(connection, link, arrival)
    if effect is LinkEffect.SET_ASIDE:
        applied.not_its_own[arrival.sender] += 1
        return
    if effect is LinkEffect.HELD:
        return
    change = link_change(link, arrival.sender)
    # A returned link counts as a change of this node. Otherwise the node that sent the link would not be notified of
    # it.
    applied.links.append(replace(change, source="") if effect is LinkEffect.TO_RETURN else change)
    if effect is LinkEffect.ENDED:
        # The link may have come earlier, without the name of the node that had requested its end.
        applied.ended_links += find_links(connection, [link.link_id])
    elif effect is LinkEffect.TO_PASS_UP:
        applied.links_to_end.append(link)


def _store_results(
    connection: Connection,
    changes: Sequence[Change],
    tubes: Sequence[FormedTubes],
    arrival: Arrival,
    applied: Applied,
    *,
    all_new: bool,
) -> None:
    """Store tubes in bulk if all of their reports are new, and everything else result by result."""
    horizon = read_horizon(connection)
    # Rows under a pepper version that has ended here could not be found by their keys. Only a purge ends a version.
    # These rows are therefore older than the horizon.
    oldest = connection.execute(_OLDEST_VERSION).scalar() or 0
    kept = [
        change
        for change in changes
        if isinstance(change, Replica)
        and change.key_version >= oldest
        and (horizon is None or change.result.reference_time >= horizon)
    ]
    under_kept_keys = [formed for formed in tubes if formed.tubes.key_version >= oldest]
    if all_new and len(under_kept_keys) < len(tubes):
        raise NotAllNew
    bulk, form = bulk_for(connection), row_form(connection.dialect.name)
    of_lab = attrgetter("result.lab")
    of_tube_lab = attrgetter("tubes.lab")
    for _, group in groupby(sorted(under_kept_keys, key=of_tube_lab), of_tube_lab):
        some = list(group)
        all_kept = horizon is None or min(time for formed in some for time in formed.tubes.reference_times()) >= horizon
        if all_kept and _insert_tubes(connection, bulk, some, arrival):
            applied.formed += some
        elif all_new:
            raise NotAllNew
        else:
            each = (replica for formed in some for replica in formed.tubes.replicas())
            kept += [replica for replica in each if horizon is None or replica.result.reference_time >= horizon]
    for lab, replicas in groupby(sorted(kept, key=of_lab), of_lab):
        ResultWriter(connection, bulk, form, lab, arrival, applied).write(list(replicas))


def form_tubes(dialect: str, tubes: ReplicaTubes, message: ReplicatedTubes) -> FormedTubes:
    """Return tubes with the results of their persons, whose rows are joined for a dialect's bulk statements.

    `message` is the message in which the tubes arrived.
    """
    form = row_form(dialect)
    persons = len(tubes.report_numbers)
    columns = ResultColumns(
        report_numbers=tubes.report_numbers,
        subject_keys=tubes.subject_keys,
        reference_times=tubes.spread(tube.reference_time for tube in tubes.tubes),
        outcomes=tubes.spread(tube.outcome for tube in tubes.tubes),
        content_hashes=tubes.content_hashes,
        items=tubes.spread(tube.item for tube in tubes.tubes),
        tube_indexes=tubes.spread(range(len(tubes.tubes))),
        person_indexes=range(persons),
    )
    # No mask crosses between nodes.
    masks = [""] * persons
    new = NewColumns(
        tubes.lab,
        tubes.key_version,
        tubes.report_numbers,
        tubes.subject_keys,
        columns.reference_times,
        columns.outcomes,
        tubes.content_hashes,
        tubes.name_hashes,
        masks,
        masks,
        tubes.spread(map(form.form_tube, tubes.tubes)),
    )
    return FormedTubes(tubes, NewResults.form(dialect, columns, new), message)


def _insert_tubes(connection: Connection, bulk: Bulk, some: Sequence[FormedTubes], arrival: Arrival) -> bool:
    """Store a laboratory's tubes in bulk if every report is new here. Otherwise store nothing, and return False."""
    together = NewResults.merge([formed.results for formed in some])
    if not together.are_distinct or not claim_all(connection, bulk, together):
        return False
    national_receive_time = arrival.now if arrival.at_nation else None
    bulk.insert_results(
        connection,
        [
            (results, CommitColumns(tubes.upload_time, tubes.source_node, 1, ACTIVE, national_receive_time))
            for tubes, results, _ in some
        ],
    )
    return True


def _count_delays(connection: Connection, applied: Applied, arrival: Arrival) -> None:
    """Record how long uploaded reports took to reach their node.

    At the nation, record also how long they took from their node to the nation.
    """
    by_commit: dict[tuple[str, Instant], list[Instant]] = {}
    for tubes in applied.tubes:
        by_commit.setdefault((tubes.lab, tubes.upload_time), []).extend(tubes.report_times())
    for replica in select_uploads(applied.stored):
        result = replica.result
        by_commit.setdefault((result.lab, result.upload_time), []).append(result.reference_time)
    for (lab, upload_time), report_times in sorted(by_commit.items()):
        record_delays(connection, lab, report_times, upload_time)
        if arrival.at_nation:
            record_national_delays(connection, lab, report_times, arrival.now - upload_time)


def select_uploads(changes: Sequence[Change]) -> list[Replica]:
    """Return the reports that laboratories uploaded, without sampling records, corrections and recalls."""
    replicas = [change for change in changes if isinstance(change, Replica) and change.result.outcome != PENDING]
    return [replica for replica in replicas if replica.result.revision == (2 if replica.sampling_hash else 1)]
