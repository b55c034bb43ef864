"""Store replicated results of one laboratory. Storing the same results again has no further effect.

A report belongs to the node that received it first. If the home of its laboratory sends the report later, it belongs to
the home. The revision with the greatest number counts, in whatever order revisions arrive. A node that was restored
from an older copy may send another revision under a number that is known already. The revision that was written later
counts, and the node above stores it under the next number.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter

import structlog
from sqlalchemy import Connection, bindparam, update

from services.domain.region import NATION, within
from services.results.exchange.arrival import Applied, Arrival
from services.results.exchange.homes.register import is_home
from services.results.exchange.model import Replica
from services.results.exchange.reconcile import Reconciliation, reconcile
from services.results.records.bulk import Bulk, CommitColumns, claim_all
from services.results.records.model import (
    RECALLED,
    RECALLED_OUTCOME,
    SUPERSEDED,
    NewResult,
    ReportKey,
    StoredResult,
)
from services.results.records.queries import find_histories, find_reports
from services.results.records.revisions import remove_reports
from services.results.records.row_format import RowForm
from services.results.records.tables import report_keys, results

_log = structlog.get_logger(__name__)

_results = results
_keys = report_keys


class ResultWriter:
    """Writes the replicated results of one laboratory."""

    def __init__(
        self, connection: Connection, bulk: Bulk, form: RowForm, lab: str, arrival: Arrival, applied: Applied
    ) -> None:
        self._connection = connection
        self._bulk = bulk
        self._form = form
        self._lab = lab
        self._arrival = arrival
        self._applied = applied
        self._rows: dict[int, NewResult] = {}

    def write(self, replicas: list[Replica]) -> None:
        """Write new reports in bulk, and other replicas as newer or older revisions of stored reports."""
        first: dict[str, Replica] = {}
        again: list[Replica] = []
        for replica in replicas:
            if first.setdefault(replica.result.report_number, replica) is not replica:
                again.append(replica)
        rows = [self._row(replica) for _, replica in sorted(first.items())]
        if claim_all(self._connection, self._bulk, rows):
            claimed = set(first)
        else:
            claimed = self._bulk.insert_free_keys(self._connection, self._lab, rows)
        fresh = [replica for number, replica in first.items() if number in claimed]
        self._insert((replica, replica.result.state) for replica in fresh)
        # When a number is claimed, the report's key points to revision 1.
        self._point_keys([replica for replica in fresh if replica.result.revision > 1])
        again += [replica for number, replica in first.items() if number not in claimed]
        if again:
            self._revise(again)

    def _revise(self, replicas: list[Replica]) -> None:
        numbers = sorted({replica.result.report_number for replica in replicas})
        known = self._bulk.hold_keys(self._connection, self._lab, numbers)
        newest = find_reports(self._connection, [(self._lab, number) for number in numbers])
        if taken := self._find_taken(replicas, newest):
            remove_reports(self._connection, self._lab, sorted(taken))
            self.write([replica for replica in replicas if replica.result.report_number in taken])
            replicas = [replica for replica in replicas if replica.result.report_number not in taken]
        belonging = [replica for replica in replicas if self._belongs(replica, known, newest)]
        newer: dict[str, list[Replica]] = {}
        older: list[Replica] = []
        for replica in sorted(belonging, key=attrgetter("result.revision")):
            number = replica.result.report_number
            if replica.result.revision <= known[number].revision:
                older.append(replica)
            elif number not in newer or newer[number][-1].result.revision < replica.result.revision:
                newer.setdefault(number, []).append(replica)
        self._succeed([newest[self._lab, number] for number in newer if (self._lab, number) in newest], newer)
        if older:
            self._reconcile(older, known)

    def _succeed(self, present: Sequence[StoredResult], chains: dict[str, list[Replica]]) -> None:
        """Store the further revisions of each report. The last of them becomes the newest revision.

        `present` are the revisions that were the newest so far. They become superseded.
        """
        self._supersede(present)
        self._insert(
            (replica, replica.result.state if replica is chain[-1] else SUPERSEDED)
            for chain in chains.values()
            for replica in chain
        )
        self._point_keys([chain[-1] for chain in chains.values()])

    def _reconcile(self, older: Sequence[Replica], known: dict[str, ReportKey]) -> None:
        """Compare revisions with the stored revisions of the same numbers. They come in ascending order."""
        histories = find_histories(self._connection, self._lab, [replica.result.report_number for replica in older])
        present: list[StoredResult] = []
        further: dict[str, list[Replica]] = {}
        missing: list[Replica] = []
        for replica in older:
            number = replica.result.report_number
            history = histories.setdefault(number, [])
            reconciliation = reconcile(replica.result, history)
            if reconciliation is Reconciliation.MISSING:
                missing.append(replica)
                insort(history, replica.result, key=attrgetter("revision"))
            elif reconciliation is not Reconciliation.KNOWN and self._arrival.from_below:
                self._count_conflict(replica)
                if reconciliation is Reconciliation.SUCCEEDS:
                    revision = max(history[-1].revision, known[number].revision) + 1
                    next_ = replica._replace(result=replica.result._replace(revision=revision))
                    if number not in further:
                        present.append(history[-1])
                    further.setdefault(number, []).append(next_)
                    history.append(next_.result)
        self._insert((replica, SUPERSEDED) for replica in missing)
        self._succeed(present, further)

    def _find_taken(self, replicas: Sequence[Replica], newest: dict[tuple[str, str], StoredResult]) -> set[str]:
        """Return the numbers under which the replicas replace reports of another node.

        A replica replaces a stored report in two cases: a node below that is the laboratory's home sends it, or the
        node above sends it. In the second case both reports are copies, and the node above sends the copy that it
        keeps.
        """
        arrival = self._arrival
        present = {number: kept.source_node for (_, number), kept in newest.items()}
        taken = {
            number
            for number, source in ((r.result.report_number, r.result.source_node) for r in replicas)
            if present.get(number, source) not in (source, NATION, arrival.node)
            # A copy does not replace a report of a node below.
            and (arrival.from_below or not within(present[number], arrival.node))
        }
        if not taken or (arrival.from_below and not is_home(self._connection, self._lab, arrival.sender, arrival.node)):
            return set()
        for node, count in Counter(present[number] for number in taken).items():
            _log.warning(
                "reports of a laboratory replaced those that another node had sent under their numbers",
                lab=self._lab,
                node=node,
                count=count,
            )
            if arrival.from_below:
                self._applied.not_its_own[node] += count
        return taken

    def _count_conflict(self, replica: Replica) -> None:
        self._applied.conflict_count += 1
        _log.warning(
            "a node changed a revision that it had sent before; it was restored from an older copy",
            lab=self._lab,
            node=replica.result.source_node,
            revision=replica.result.revision,
        )

    def _belongs(
        self, replica: Replica, known: dict[str, ReportKey], newest: dict[tuple[str, str], StoredResult]
    ) -> bool:
        """Return whether the report belongs to the sender.

        If another node sent the report first with other content, this counts as a conflict.
        """
        number = replica.result.report_number
        present = newest.get((self._lab, number))
        key = known[number]
        if present is None:
            return True
        if present.source_node == replica.result.source_node:
            if present.subject_key == replica.result.subject_key:
                return True
            # A revision for another subject would take the report away from its present subject.
            self._count_conflict(replica)
            return False
        if replica.content_hash not in (key.content_hash, key.sampling_hash):
            self._applied.conflict_count += 1
            _log.warning(
                "two nodes sent a report with different content; the first is kept",
                lab=self._lab,
                first=present.source_node,
                second=replica.result.source_node,
            )
        return False

    def _row(self, replica: Replica) -> NewResult:
        """Return the replica's rows for the bulk statements. The rows of a replica are formed once."""
        row = self._rows.get(id(replica))
        if row is None:
            row = self._rows[id(replica)] = self._form_row(replica)
        return row

    def _form_row(self, replica: Replica) -> NewResult:
        result = replica.result
        outcome = RECALLED_OUTCOME if result.state == RECALLED else result.outcome
        key_row = self._form.form_key(
            result.lab, result.report_number, result.subject_key, result.reference_time, outcome, replica.content_hash
        )
        person = (
            result.subject_key,
            result.lab,
            result.report_number,
            replica.key_version,
            result.name_hash,
            result.masked_name,
            result.masked_number,
        )
        result_row = self._form.form_result(person, self._form.form_tube(result))
        return NewResult(
            0,
            0,
            result.report_number,
            result.subject_key,
            result.reference_time,
            outcome,  # type: ignore[arg-type]
            replica.content_hash,
            key_row,
            result_row,
            result.item,
        )

    def _insert(self, replicas: Iterable[tuple[Replica, int]]) -> None:
        """Insert rows, with one statement for all rows that share their commit columns."""
        groups: dict[CommitColumns, list[NewResult]] = {}
        for replica, state in replicas:
            result = replica.result
            national_receive_time = self._arrival.now if self._arrival.at_nation else result.national_receive_time
            columns = CommitColumns(
                result.upload_time, result.source_node, result.revision, state, national_receive_time
            )
            groups.setdefault(columns, []).append(self._row(replica))
            self._applied.stored.append(replica)
        if groups:
            self._bulk.insert_results(self._connection, [(rows, columns) for columns, rows in groups.items()])

    def _supersede(self, results: Sequence[StoredResult]) -> None:
        if not results:
            return
        self._connection.execute(
            update(_results)
            .where(
                _results.c.subject_key == bindparam("key"),
                _results.c.reference_time == bindparam("reference"),
                _results.c.lab == self._lab,
                _results.c.report_number == bindparam("number"),
                _results.c.revision == bindparam("old"),
            )
            .values(state=SUPERSEDED),
            [
                {
                    "key": result.subject_key,
                    "reference": result.reference_time,
                    "number": result.report_number,
                    "old": result.revision,
                }
                for result in results
            ],
        )

    def _point_keys(self, replicas: Sequence[Replica]) -> None:
        """Let the keys of the reports point to these revisions."""
        if not replicas:
            return
        self._connection.execute(
            update(_keys)
            .where(_keys.c.lab == self._lab, _keys.c.report_number == bindparam("number"))
            .values(
                reference_time=bindparam("reference"),
                revision=bindparam("newest"),
                outcome=bindparam("says"),
                content_hash=bindparam("content"),
                sampling_hash=bindparam("sampling"),
            ),
            [
                {
                    "number": replica.result.report_number,
                    "reference": replica.result.reference_time,
                    "newest": replica.result.revision,
                    "says": RECALLED_OUTCOME if replica.result.state == RECALLED else replica.result.outcome,
                    "content": replica.content_hash,
                    "sampling": replica.sampling_hash or None,
                }
                for replica in replicas
            ],
        )
