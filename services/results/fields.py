"""Fields that several wings read from the wire."""

from __future__ import annotations

from google.type.interval_pb2 import Interval
from hutong.type.v1 import identity_pb2

from services.domain.document import BadDocument, Document, canonical_document
from services.domain.errors import InvalidArgument
from services.domain.instant import Instant, from_timestamp
from services.domain.region import is_region
from services.runtime.consistency import Freshness, encode_token


def document_from_proto(document: identity_pb2.IdentityDocument, field: str = "document") -> Document:
    """The canonical document; InvalidArgument BAD_DOCUMENT_NUMBER when its number cannot be right."""
    try:
        return canonical_document(document.type, document.number, document.issuing_country)
    except BadDocument as error:
        raise InvalidArgument.field(f"{field}.{error.field}", error.expected, "BAD_DOCUMENT_NUMBER") from None


def known_region(region: str, field: str) -> str:
    """The region when it is one of GB/T 2260; InvalidArgument REGION_UNKNOWN when it is not."""
    if not is_region(region):
        raise InvalidArgument.field(field, "is not a region of GB/T 2260", "REGION_UNKNOWN")
    return region


def closed_interval(interval: Interval, field: str) -> tuple[Instant, Instant]:
    """The start and the end; InvalidArgument when they are one instant here, where times are microseconds."""
    start, end = from_timestamp(interval.start_time), from_timestamp(interval.end_time)
    if end <= start:
        raise InvalidArgument.field(field, "its end must be after the start")
    return start, end


def open_interval(interval: Interval) -> tuple[Instant | None, Instant | None]:
    """The start and the end, None where there is no limit."""
    return (
        from_timestamp(interval.start_time) if interval.HasField("start_time") else None,
        from_timestamp(interval.end_time) if interval.HasField("end_time") else None,
    )


def token(node: str, now: Instant) -> str:
    """The consistency token of what was committed at this node before now.

    To be made after the commit: by an earlier instant a reader elsewhere would believe to have seen what was still on
    its way into the store.
    """
    return encode_token(Freshness("results", node, now))
