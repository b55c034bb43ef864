"""Stores decisions in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from hutong.verification.v1 import decision_pb2 as pb
from sqlalchemy import Connection, insert, select

from services.domain.errors import NotFound
from services.domain.instant import Instant
from services.domain.names import format_decision
from services.runtime.audit import DecisionRead, rows_of
from services.storage.engine import Database
from services.verification.decision.model import Decision, Evidence
from services.verification.decision_counts.model import CountedDecision
from services.verification.showings.model import Showing
from services.verification.showings.store import remember_showings
from services.verification.stored_decisions.subject_tag import SubjectTag
from services.verification.stored_decisions.tables import decisions


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision with its full inputs, both serialized as `hutong.verification.v1` messages.

    `subject` is None if the decision was stored before decisions were tagged with their subject. `showings` are the
    reports that were shown for it; a decision that is read has none.
    """

    uuid: str
    evaluate_time: Instant
    decision: bytes
    inputs: bytes
    subject: SubjectTag | None = None
    showings: tuple[Showing, ...] = ()


_CASES = frozenset({pb.DECISION_REASON_EVIDENCE_NOT_COMPARABLE, pb.DECISION_REASON_CLEARANCE_NOT_RECORDED})
"""Reasons with which an UNDETERMINED decision is stored. The other reasons say that something, such as a source, is
absent."""


def must_be_kept(decision: Decision) -> bool:
    """Return whether a decision is stored even if the caller does not ask for this.

    A decision is stored if it is NOT_RECOGNIZED, or if evidence was weighed for it. Other decisions are not stored, so
    that the system knows as little as possible of where people go. In particular, an UNDETERMINED decision is not
    stored if its only reason is an absence, such as that of a source. Such a decision says nothing about the person,
    and in an outage every question would store one.
    """
    if decision.outcome == pb.DECISION_OUTCOME_NOT_RECOGNIZED or decision.reason in _CASES:
        return True
    for considered in decision.considered:
        if considered.use != pb.EVIDENCE_USE_NOT_NEEDED and isinstance(considered.subject, Evidence):
            return True
    return False


class KeptAnswer(NamedTuple):
    """What must be stored before an answer is sent. Either part is None if it has nothing to store.

    Attributes:
        decision: the decision, if it is kept.
        read: what the audit records.
        counted: what is counted of the decision once it is stored; None if it is not counted.
    """

    decision: StoredDecision | None
    read: DecisionRead | None
    counted: CountedDecision | None = None


class DecisionStore:
    """The store of decisions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_answers(self, answers: Sequence[KeptAnswer]) -> None:
        """Store decisions, and the rows of the audit of all answers, in one transaction. They are durable afterwards.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        decided = [answer.decision for answer in answers if answer.decision is not None]
        reads = [answer.read for answer in answers if answer.read is not None]
        after_commit: list[Callable[[], None]] = []
        insert_all = partial(insert_decisions, kept=decided, after_commit=after_commit)
        if reads:
            # All answers of a process are recorded in one audit trail.
            await reads[0].audit.trail.record(rows_of(reads), insert_all if decided else None)
        else:
            await self._database.write(insert_all)
        for call in after_commit:
            call()

    async def get_decision(self, uuid: str) -> StoredDecision:
        """Return one decision.

        Raises:
            NotFound: there is no such decision.
        """
        return await self._database.read(select_decision, uuid)


def insert_decisions(
    connection: Connection, kept: Sequence[StoredDecision], after_commit: list[Callable[[], None]] | None = None
) -> None:
    """Insert decisions inside a transaction, and remember the reports that were shown for them.

    `after_commit` gets functions to call once the transaction is committed. If the transaction is tried again, the
    functions of the second attempt replace those of the failed attempt.
    """
    rows = [
        {
            "uuid": one.uuid,
            "evaluate_time": one.evaluate_time,
            "decision": one.decision,
            "inputs": one.inputs,
            "subject_tag": None if one.subject is None else one.subject.key,
            "key_version": None if one.subject is None else one.subject.version,
        }
        for one in kept
    ]
    connection.execute(insert(decisions), rows)
    showings = [showing for one in kept for showing in one.showings]
    if showings:
        count = remember_showings(connection, showings, _find_region)
        if after_commit is not None:
            after_commit[:] = [count]


def find_regions(connection: Connection, uuids: Collection[str]) -> dict[str, str]:
    """Return the regions of the places of decisions, by UUID. Decisions that are not stored are left out."""
    query = select(decisions.c.uuid, decisions.c.inputs).where(decisions.c.uuid.in_(uuids))
    return {row.uuid: pb.DecisionInputs.FromString(bytes(row.inputs)).region for row in connection.execute(query)}


def _find_region(connection: Connection, uuid: str) -> str:
    return find_regions(connection, [uuid]).get(uuid, "")


def select_decision(connection: Connection, uuid: str) -> StoredDecision:
    """Read a decision.

    Raises:
        NotFound: there is no such decision.
    """
    row = connection.execute(select(decisions).where(decisions.c.uuid == uuid)).one_or_none()
    if row is None:
        raise NotFound.resource(format_decision(uuid))
    subject = None if row.subject_tag is None else SubjectTag(bytes(row.subject_tag), row.key_version)
    return StoredDecision(row.uuid, row.evaluate_time, bytes(row.decision), bytes(row.inputs), subject)
