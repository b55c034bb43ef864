"""Conversion of timeliness to messages."""

from __future__ import annotations

from collections.abc import Mapping

from hutong.results.v1 import timeliness_pb2

from services.domain.instant import optional_timestamp, to_duration
from services.domain.names import format_lab
from services.results.timeliness.delays import Quantiles, Timeliness


def timeliness_to_proto(found: Mapping[str, Timeliness], region: str) -> list[timeliness_pb2.Timeliness]:
    """Return messages in order of laboratory code. The key "" stands for the whole region and comes first."""
    return [_timeliness_to_proto(name, region, one) for name, one in sorted(found.items())]


def _timeliness_to_proto(name: str, region: str, timeliness: Timeliness) -> timeliness_pb2.Timeliness:
    message = timeliness_pb2.Timeliness(
        result_count=timeliness.result_count,
        late_count=timeliness.late_count,
        last_upload_time=optional_timestamp(timeliness.last_upload_time),
    )
    if name:
        message.lab = format_lab(name)
    else:
        message.region = region
    if timeliness.to_upload is not None:
        message.report_to_upload.CopyFrom(_quantiles_to_proto(timeliness.to_upload))
    if timeliness.to_nation is not None:
        message.upload_to_nationwide.CopyFrom(_quantiles_to_proto(timeliness.to_nation))
    return message


def _quantiles_to_proto(quantiles: Quantiles) -> timeliness_pb2.DelayQuantiles:
    p50, p95, p99 = map(to_duration, quantiles)
    return timeliness_pb2.DelayQuantiles(p50=p50, p95=p95, p99=p99)
