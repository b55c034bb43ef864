"""Conversion of timeliness to messages."""

from __future__ import annotations

from hutong.results.v1 import timeliness_pb2

from services.domain.instant import optional_timestamp, to_duration, to_timestamp
from services.domain.names import format_lab
from services.results.timeliness.delays import Quantiles
from services.results.timeliness.model import WHOLE, Row


def row_to_proto(row: Row, region: str) -> timeliness_pb2.Timeliness:
    """Return the message of a row of a region's summary; `region` is empty in a laboratory's summary."""
    timeliness = row.timeliness
    message = timeliness_pb2.Timeliness(
        grouping=row.grouping,
        result_count=timeliness.result_count,
        late_count=timeliness.late_count,
        last_upload_time=optional_timestamp(timeliness.last_upload_time),
        lab_display_name=row.name,
        lab_contact=row.contact,
        silence_start_time=optional_timestamp(row.silence_start),
        lab_count=row.lab_count or 0,
        silent_lab_count=row.silent_count or 0,
    )
    if timeliness.result_count:
        message.late_share = timeliness.late_count / timeliness.result_count
    if len(row.key) in (len(WHOLE), len(region)):
        message.region = row.key or region
    else:
        message.lab = format_lab(row.key)
    if row.part is not None:
        start, end = map(to_timestamp, row.part)
        message.interval.start_time.CopyFrom(start)
        message.interval.end_time.CopyFrom(end)
    if timeliness.to_upload is not None:
        message.report_to_upload.CopyFrom(_quantiles_to_proto(timeliness.to_upload))
    if timeliness.to_nation is not None:
        message.upload_to_nationwide.CopyFrom(_quantiles_to_proto(timeliness.to_nation))
    return message


def _quantiles_to_proto(quantiles: Quantiles) -> timeliness_pb2.DelayQuantiles:
    p50, p95, p99 = map(to_duration, quantiles)
    return timeliness_pb2.DelayQuantiles(p50=p50, p95=p95, p99=p99)
