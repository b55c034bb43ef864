"""When results reached the nation, as far as this node knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select, tuple_

from services.domain.instant import Instant
from services.results.records.model import StoredResult
from services.results.timeliness import tables
from services.storage.connections import is_distributed

_times = tables.national_receive_times


def with_national_receive_times(connection: Connection, results: Sequence[StoredResult]) -> list[StoredResult]:
    """Return the same results, each with its national receive time if this node knows that time."""
    commits = sorted({(result.lab, result.upload_time) for result in results if result.national_receive_time is None})
    if not commits:
        return list(results)
    if connection.dialect.name == "postgresql" and not is_distributed(connection):
        found = connection.exec_driver_sql(
            "SELECT t.* FROM national_receive_times t JOIN unnest(%s::text[], %s::bigint[]) AS u (lab, upload_time)"
            " ON t.lab = u.lab AND t.upload_time = u.upload_time",
            ([lab for lab, _ in commits], [upload_time for _, upload_time in commits]),
        )
    else:
        found = connection.execute(select(_times).where(tuple_(_times.c.lab, _times.c.upload_time).in_(commits)))
    times = {(lab, upload_time): national_receive_time for lab, upload_time, national_receive_time in found}
    return [_stamped(result, times) for result in results] if times else list(results)


def _stamped(result: StoredResult, times: Mapping[tuple[str, Instant], Instant]) -> StoredResult:
    if result.national_receive_time is not None:
        return result
    return result._replace(national_receive_time=times.get((result.lab, result.upload_time)))
