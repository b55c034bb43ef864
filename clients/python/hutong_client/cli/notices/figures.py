"""The figures of a notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.timeliness_pb2 import Timeliness
from hutong.verification.v1.refusal_service_pb2 import (
    REFUSAL_GROUPING_CITY,
    REFUSAL_GROUPING_DISTRICT,
    REFUSAL_GROUPING_PROVINCE,
    RefusalGrouping,
    RefusalSummary,
)

from hutong_client.tables.regions import NATION

_MUNICIPALITIES = frozenset({"11", "12", "31", "50"})
"""Municipalities have districts and no cities (直辖市)."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the services have counted.

    Attributes:
        region: the region of the notice.
        start_time: the start of the interval.
        end_time: the end of the interval.
        late_threshold: the time after which an upload is late.
        whole: the refusals of the whole region; None if there is no report and no decision.
        places: the refusals of the places one level below the region.
        venue_kinds: the refusals by kind of venue.
        decision_start_time: since when decisions are counted; None if none is counted.
        uploads: the uploads of the whole region; None if the region has no laboratory.
        upload_places: the uploads of the provinces or cities one level below the region.
        labs: the uploads of each laboratory.
        retention_start_time: reports that were issued before are no longer counted; None if all are counted.
    """

    region: str
    start_time: Timestamp
    end_time: Timestamp
    late_threshold: Duration
    whole: RefusalSummary | None = None
    places: Sequence[RefusalSummary] = ()
    venue_kinds: Sequence[RefusalSummary] = ()
    decision_start_time: Timestamp | None = None
    uploads: Timeliness | None = None
    upload_places: Sequence[Timeliness] = ()
    labs: Sequence[Timeliness] = ()
    retention_start_time: Timestamp | None = None


def grouping_below(region: str) -> RefusalGrouping.ValueType | None:
    """Return the grouping by the places one level below a region; None for a district."""
    if region == NATION:
        return REFUSAL_GROUPING_PROVINCE
    if region[2:] == "0000":
        return REFUSAL_GROUPING_DISTRICT if region[:2] in _MUNICIPALITIES else REFUSAL_GROUPING_CITY
    return REFUSAL_GROUPING_DISTRICT if region[4:] == "00" else None
