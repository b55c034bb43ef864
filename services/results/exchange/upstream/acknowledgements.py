"""The record of which results have reached the node above.

If the node above is the nation, the record also has the time when they reached the nation.

Each upload has one row, which is found by a result's laboratory and upload time. Writing the national receive time into
every result would write the whole store twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from services.domain.instant import Instant
from services.results.changelog.log import forget_other_keys
from services.results.changelog.tables import change_writers
from services.results.exchange import tables
from services.results.timeliness.delays import record_national_delays
from services.results.timeliness.tables import national_receive_times
from services.storage.upsert import insert_if_absent

_writers = change_writers
_positions = tables.acknowledged_positions
_times = national_receive_times


class AcknowledgedCommit(NamedTuple):
    """A commit that the node above acknowledged.

    Attributes:
        uploads: the upload times of its results, each with the report times of the reports that were uploaded then.
            Results that a node below has sent have the upload times of their own node.
        national_receive_time: when the nation acknowledged the commit; None if the node above is not the nation.
        has_other_keys: whether the commit's entry has keys of the other key version. These keys are not needed after
            the acknowledgement.
    """

    writer: int
    sequence: int
    lab: str
    uploads: Mapping[Instant, Sequence[Instant]]
    national_receive_time: Instant | None
    has_other_keys: bool = False


def record_acknowledged(connection: Connection, commits: Sequence[AcknowledgedCommit]) -> None:
    """Record that the node above has these commits. Skip commits that are recorded already."""
    query = select(_positions.c.writer_id, _positions.c.acknowledged).with_for_update()
    known: dict[int, int] = dict(connection.execute(query).all())
    for commit in sorted(commits):
        if commit.sequence <= known.get(commit.writer, 0):
            continue
        if commit.lab and commit.national_receive_time is not None:
            _record_receive_times(connection, commit, commit.national_receive_time)
        if commit.writer not in known:
            connection.execute(
                insert_if_absent(connection, _positions).values(writer_id=commit.writer, acknowledged=commit.sequence)
            )
        if commit.has_other_keys:
            forget_other_keys(connection, commit.writer, known.get(commit.writer, 0), commit.sequence)
        known[commit.writer] = commit.sequence
    for writer, acknowledged in sorted(known.items()):
        connection.execute(
            _positions.update().where(_positions.c.writer_id == writer).values(acknowledged=acknowledged)
        )


def _record_receive_times(connection: Connection, commit: AcknowledgedCommit, receive_time: Instant) -> None:
    for upload_time, report_times in sorted(commit.uploads.items()):
        connection.execute(
            insert_if_absent(connection, _times).values(
                lab=commit.lab, upload_time=upload_time, national_receive_time=receive_time
            )
        )
        record_national_delays(connection, commit.lab, report_times, receive_time - upload_time)


def read_acknowledged(connection: Connection, writer_id: int) -> int:
    """Return how many of a writer's commits the node above has acknowledged."""
    query = select(_positions.c.acknowledged).where(_positions.c.writer_id == writer_id)
    return connection.execute(query).scalar() or 0


def count_unacknowledged(connection: Connection, acknowledged: Mapping[int, int] | None) -> int:
    """Count the commits that the node above has not acknowledged.

    `acknowledged` gives the number of acknowledged commits of each writer; None stands for the numbers that are
    recorded here. Commits that retention has removed do not count, because they can no longer be sent.
    """
    if acknowledged is None:
        acknowledged = dict(connection.execute(select(_positions.c.writer_id, _positions.c.acknowledged)).all())
    writers = connection.execute(select(_writers.c.writer_id, _writers.c.newest_sequence, _writers.c.removed_sequence))
    return sum(max(0, newest - max(removed, acknowledged.get(writer, 0))) for writer, newest, removed in writers)
