"""Writes reports in one transaction, notes which nodes are to get them, and keeps duplicates in step.

Of several reports of one refusal the earliest one counts. The others are its duplicates, and have its assessment and
its answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, select, update

from services.domain.instant import Instant
from services.storage.upsert import insert_if_absent
from services.verification.refusals.outbox import enqueue, links_for_change
from services.verification.refusals.routing import Links
from services.verification.refusals.rows import from_row, to_row, write_changes
from services.verification.refusals.rules import ANSWER, ASSESSMENT, Refusal
from services.verification.refusals.tables import refusals

_C = refusals.c


class ReportWriter:
    """Writes reports until a transaction ends.

    Attributes:
        connection: the transaction.
        links: the nodes with which this node exchanges reports.
        now: the time of the changes.
    """

    def __init__(self, connection: Connection, links: Links, now: Instant) -> None:
        self.connection = connection
        self.links = links
        self.now = now

    @classmethod
    def begin(cls, connection: Connection, own: str, has_upstream: bool, now: Instant) -> ReportWriter:
        """Return the writer of a transaction. A link that begins now waits until the transaction ends."""
        return cls(connection, links_for_change(connection, own, has_upstream), now)

    def insert(self, refusal: Refusal) -> bool:
        """Insert a report. Return False if the report, or one with the same hash, is stored already."""
        new = insert_if_absent(self.connection, refusals).values(to_row(refusal))
        return self.connection.execute(new).rowcount > 0

    def update(self, refusal: Refusal) -> None:
        """Write all columns of a stored report, whose row is locked."""
        self.connection.execute(update(refusals).where(_C.uuid == refusal.uuid).values(to_row(refusal)))

    def send(self, refusal: Refusal, *, leave_out: str = "") -> None:
        """Note that a report is to be sent to each node that it concerns, except the node `leave_out`.

        The report is sent in the state in which this transaction leaves it.
        """
        self.send_to(self.links.concerned(refusal.region, refusal.origin_node) - {leave_out}, refusal.uuid)

    def send_to(self, nodes: Iterable[str], uuid: str) -> None:
        """Note that a report is to be sent to some nodes, in the state in which this transaction leaves the report."""
        enqueue(self.connection, uuid, nodes, self.now)

    def update_everywhere(self, refusal: Refusal) -> None:
        """Write a stored report, send it, and copy its assessment and answer to its duplicates."""
        self.update(refusal)
        self.send(refusal)
        self.copy_to_duplicates(refusal)

    def copy_to_duplicates(self, refusal: Refusal) -> None:
        """Give the later reports of a refusal the assessment and the answer of the earliest one."""
        query = select(refusals).where(_C.duplicate_of == refusal.uuid).order_by(_C.uuid)
        for duplicate in [from_row(row) for row in self.connection.execute(query)]:
            copied = duplicate
            for part in (ASSESSMENT, ANSWER):
                if getattr(refusal, part[-1]) is not None:
                    copied = copied.with_part(refusal, part)
            if copied != duplicate:
                write_changes(self.connection, duplicate, copied)
                self.send(copied)

    def unite(self, same: Sequence[Refusal], keys: Collection[bytes]) -> Refusal:
        """Make stored reports of one refusal duplicates of the earliest of them. Return the earliest.

        `keys` are the hashes of a further report of the refusal.
        """
        stored, *others = same
        first = stored.with_keys_of(keys)
        for other in others:
            first = first.with_what_is_known(other)
            self.demote(other, first.uuid)
        if first != stored:
            write_changes(self.connection, stored, first)
        if others:
            # If there are no others, the report can only have gained a hash, and such hashes are not sent.
            self.send(first)
            self.copy_to_duplicates(first)
        return first

    def demote(self, refusal: Refusal, earlier: str) -> None:
        """Make a report a duplicate of an earlier report of the same refusal.

        Duplicates of the later report also become duplicates of the earlier report.
        """
        query = select(refusals).where((_C.uuid == refusal.uuid) | (_C.duplicate_of == refusal.uuid)).order_by(_C.uuid)
        for one in [from_row(row) for row in self.connection.execute(query)]:
            demoted = one.as_duplicate_of(earlier)
            write_changes(self.connection, one, demoted)
            self.send(demoted)
