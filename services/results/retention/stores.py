"""The stores of Results from which a purge removes old rows, besides results and their keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import ColumnElement, Table, and_, func, or_, select

from services.domain.instant import HOUR, shanghai_day
from services.results.documents.tables import document_links
from services.results.exchange.tables import nodes, notifications, replicated_positions
from services.results.idempotency import requests
from services.results.missing_reports.tables import missing_reports
from services.results.records.tables import report_keys, revision_reasons
from services.results.retention.model import Deletion, ResultsAges
from services.results.timeliness.tables import (
    city_delays,
    city_national_delays,
    delays,
    national_delays,
    national_receive_times,
)
from services.results.upload.tables import known_batches, upload_rejections, uploads


class PurgedStore(NamedTuple):
    """A table, and the condition for the rows to remove."""

    table: Table
    is_old: ColumnElement[bool]


def list_stores(deletion: Deletion, ages: ResultsAges) -> Iterator[PurgedStore]:
    """Yield the stores in the order in which they are purged.

    A row is removed once it is before the horizon or older than its store allows. For links only their age counts.
    """
    now, horizon = deletion.delete_time, deletion.horizon
    rejections, reasons, positions = upload_rejections, revision_reasons, replicated_positions
    is_of_upload = and_(uploads.c.lab == rejections.c.lab, uploads.c.upload_id == rejections.c.upload_id)
    is_of_report = and_(report_keys.c.lab == reasons.c.lab, report_keys.c.report_number == reasons.c.report_number)
    newer = positions.alias()
    is_replaced = (
        select(newer.c.node)
        .where(
            newer.c.node == positions.c.node,
            newer.c.log_id != positions.c.log_id,
            newer.c.commit_time > func.coalesce(positions.c.commit_time, 0),
        )
        .exists()
    )
    yield PurgedStore(missing_reports, missing_reports.c.create_time < max(horizon, now - ages.missing_reports))
    yield PurgedStore(reasons, ~select(report_keys.c.lab).where(is_of_report).exists())
    yield PurgedStore(uploads, uploads.c.update_time < max(horizon, now - ages.uploads))
    yield PurgedStore(rejections, ~select(uploads.c.lab).where(is_of_upload).exists())
    yield PurgedStore(delays, delays.c.report_hour < horizon // HOUR)
    yield PurgedStore(national_delays, national_delays.c.report_hour < horizon // HOUR)
    # A summary reads no total of the day of the horizon, so this day's totals stay.
    for totals in (city_delays, city_national_delays):
        yield PurgedStore(totals, totals.c.report_day < shanghai_day(horizon))
    yield PurgedStore(national_receive_times, national_receive_times.c.upload_time < horizon)
    yield PurgedStore(requests, requests.c.create_time < max(horizon, now - ages.requests))
    # A node that was unavailable for longer than this age subscribes to every subject again. Its newest notification is
    # kept beyond this age, because its number is the node's position once the node has received everything.
    newest = select(nodes.c.newest_notification).where(nodes.c.node == notifications.c.node).scalar_subquery()
    is_passed = and_(notifications.c.commit_time < now - ages.exchange, notifications.c.number < newest)
    yield PurgedStore(notifications, or_(notifications.c.commit_time < horizon, is_passed))
    # A node that was restored from a backup has a new log. It never sends from its old log again.
    is_unused = or_(positions.c.commit_time.is_(None), positions.c.commit_time < now - ages.exchange)
    yield PurgedStore(positions, and_(is_unused, is_replaced))
    yield PurgedStore(document_links, document_links.c.unlink_time < now - ages.links)
    # A batch that was stored before the horizon was set is no longer known. If the batch is repeated, it is validated
    # again.
    yield PurgedStore(known_batches, known_batches.c.commit_time <= now)
