"""The log of publications and withdrawals, and the rows of its revisions. Plain functions over a connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hutong.policy.v1 import policy_pb2
from sqlalchemy import ColumnElement, Connection, func, insert, select, update
from sqlalchemy.engine import Row

from services.domain.instant import Instant
from services.policy import tables
from services.policy.convert import Statement, revision_from_proto
from services.policy.model import Revision
from services.runtime.consistency import BEFORE_ANY, LogPosition
from services.storage.life import current_life

_policies = tables.policies
_changes = tables.policy_changes


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes after a sequence, and the current state of each revision that has changed.

    Attributes:
        sequence: the sequence of the last change.
        revisions: each revision once, with the sequence of its last change, in the order of these sequences.
        commit_times: the commit time of every change, by sequence. If a cursor has another commit time for a sequence,
            it is from another history of this log, for example from before a restore.
        lives: the life of the database in which each change was made, by sequence.
    """

    sequence: int
    revisions: Sequence[tuple[int, Revision]]
    commit_times: Mapping[int, Instant] = field(default_factory=dict)
    lives: Mapping[int, str] = field(default_factory=dict, compare=False)


def newest_sequence(connection: Connection) -> int:
    """Return the sequence of the last change; 0 before the first."""
    return int(connection.execute(select(func.coalesce(func.max(_changes.c.sequence), 0))).scalar_one())


def newest_position(connection: Connection) -> LogPosition:
    """Return the position of the last change. A lock serializes all changes, so Policy has a single writer."""
    newest = select(_changes.c.life, _changes.c.sequence).order_by(_changes.c.sequence.desc()).limit(1)
    row = connection.execute(newest).first()
    return BEFORE_ANY if row is None else LogPosition(row.life, 0, row.sequence)


def insert_revision(connection: Connection, revision: Revision, statement: Statement, now: Instant) -> None:
    """Store a new revision and append it to the log."""
    connection.execute(insert(_policies).values(policy_row(revision, statement)))
    _append_change(connection, revision, now)


def replace_revision(connection: Connection, revision: Revision, statement: Statement, now: Instant) -> None:
    """Store a revision in place of the stored revision with the same name, and append the change to the log."""
    connection.execute(update(_policies).where(*_is_named(revision)).values(policy_row(revision, statement)))
    _append_change(connection, revision, now)


def write_withdrawal(connection: Connection, revision: Revision, now: Instant) -> None:
    """Store the withdrawal of a revision, with its time and reason, and append it to the log."""
    connection.execute(
        update(_policies)
        .where(*_is_named(revision))
        .values(
            withdraw_time=revision.withdraw_time,
            withdraw_reason=revision.withdraw_reason,
            withdraw_actor=revision.withdraw_actor,
        )
    )
    _append_change(connection, revision, now)


def read_revision(connection: Connection, like: Revision) -> Revision | None:
    """Return the stored revision with the same name as the given revision; None if there is none."""
    row = connection.execute(select(_policies).where(*_is_named(like))).first()
    return None if row is None else revision_from_row(row)


def _is_named(revision: Revision) -> Sequence[ColumnElement[bool]]:
    return (
        _policies.c.region == revision.region,
        _policies.c.policy_id == revision.policy_id,
        _policies.c.revision == revision.revision,
    )


def _append_change(connection: Connection, revision: Revision, now: Instant) -> None:
    life = current_life(connection, _changes)
    connection.execute(insert(_changes).values(change_row(revision, newest_sequence(connection) + 1, now, life)))


def read_changes(connection: Connection, after: int) -> Changes:
    """Read all changes after a sequence."""
    # The commit times are read first. The second query reads no further than the newest sequence among them. A change
    # that is committed between the two queries is therefore left to the next call.
    times = select(_changes.c.sequence, _changes.c.commit_time, _changes.c.life).where(_changes.c.sequence > after)
    rows = connection.execute(times).all()
    commit_times = {int(row.sequence): int(row.commit_time) for row in rows}
    if not commit_times:
        return Changes(after, [])
    newest = max(commit_times)
    last = (
        select(
            _changes.c.region,
            _changes.c.policy_id,
            _changes.c.revision,
            func.max(_changes.c.sequence).label("sequence"),
        )
        .where(_changes.c.sequence > after, _changes.c.sequence <= newest)
        .group_by(_changes.c.region, _changes.c.policy_id, _changes.c.revision)
        .subquery()
    )
    query = (
        select(last.c.sequence, _policies)
        .join(
            last,
            (last.c.region == _policies.c.region)
            & (last.c.policy_id == _policies.c.policy_id)
            & (last.c.revision == _policies.c.revision),
        )
        .order_by(last.c.sequence)
    )
    revisions = [(int(row.sequence), revision_from_row(row)) for row in connection.execute(query)]
    return Changes(newest, revisions, commit_times, {int(row.sequence): row.life for row in rows})


def revision_from_row(row: Row) -> Revision:  # type: ignore[type-arg]
    """Return a revision from its row.

    If the row is older than hashes by field number, it has no hash. The hash is then computed here.
    """
    statement = Statement(row.region, row.policy_id, policy_pb2.Policy.FromString(row.statement))
    revision = revision_from_proto(statement, row.revision, row.publish_time, row.retroactive_reason, row.content_hash)
    return replace(
        revision,
        withdraw_time=row.withdraw_time,
        withdraw_reason=row.withdraw_reason,
        actor=row.actor,
        withdraw_actor=row.withdraw_actor,
        node=row.node,
    )


def policy_row(revision: Revision, statement: Statement) -> dict[str, Any]:
    """Return the row of a revision."""
    return {
        "region": revision.region,
        "policy_id": revision.policy_id,
        "revision": revision.revision,
        "title": revision.title,
        "floor": revision.floor,
        "effective_start_time": revision.start,
        "effective_end_time": revision.end,
        "statement": statement.policy.SerializeToString(deterministic=True),
        "content_hash": revision.content_hash,
        "retroactive_reason": revision.retroactive_reason,
        "publish_time": revision.publish_time,
        "withdraw_time": revision.withdraw_time,
        "withdraw_reason": revision.withdraw_reason,
        "actor": revision.actor,
        "withdraw_actor": revision.withdraw_actor,
        "node": revision.node,
    }


def change_row(revision: Revision, sequence: int, now: Instant, life: str | ColumnElement[str]) -> dict[str, Any]:
    """Return the row of a change. `sequence` is its number among all changes, `life` is the life of the database."""
    return {
        "sequence": sequence,
        "region": revision.region,
        "policy_id": revision.policy_id,
        "revision": revision.revision,
        "commit_time": now,
        "life": life,
    }
