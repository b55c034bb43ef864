"""Wire ↔ domain of timeliness."""

from __future__ import annotations

from collections.abc import Mapping

from hutong.results.v1 import timeliness_pb2

from services.domain.instant import optional_timestamp, to_duration
from services.domain.names import format_lab
from services.results.timeliness.delays import Quantiles, Timeliness


def timeliness_to_proto(found: Mapping[str, Timeliness], lab: str, region: str) -> list[timeliness_pb2.Timeliness]:
    """The asked subject first, for a region its laboratories after it."""
    if lab:
        return [_timeliness_to_proto(format_lab(lab), found[lab])]
    return [_timeliness_to_proto(format_lab(name) if name else region, one) for name, one in sorted(found.items())]


def _timeliness_to_proto(subject: str, timeliness: Timeliness) -> timeliness_pb2.Timeliness:
    told = timeliness_pb2.Timeliness(
        subject=subject,
        result_count=timeliness.result_count,
        late_count=timeliness.late_count,
        last_upload_time=optional_timestamp(timeliness.last_upload_time),
    )
    if timeliness.to_upload is not None:
        told.report_to_upload.CopyFrom(_quantiles_to_proto(timeliness.to_upload))
    if timeliness.to_nation is not None:
        told.upload_to_nationwide.CopyFrom(_quantiles_to_proto(timeliness.to_nation))
    return told


def _quantiles_to_proto(quantiles: Quantiles) -> timeliness_pb2.DelayQuantiles:
    p50, p95, p99 = map(to_duration, quantiles)
    return timeliness_pb2.DelayQuantiles(p50=p50, p95=p95, p99=p99)
