"""Conversion of message fields that several packages share."""

from __future__ import annotations

from google.type.interval_pb2 import Interval
from hutong.type.v1 import identity_pb2
from hutong_texts import english

from services.domain.document import Document
from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_document
from services.domain.instant import Instant, from_timestamp
from services.runtime.consistency import CommitPosition, LogPosition, encode_token


def document_from_proto(document: identity_pb2.IdentityDocument, field: str = "document") -> Document:
    """Return the canonical document. Raises InvalidArgument BAD_DOCUMENT_NUMBER if its number is impossible."""
    found: list[Violation] = []
    canonical = check_document(document, field, found)
    if canonical is None:
        raise InvalidArgument.of(found)
    return canonical


def closed_interval(interval: Interval, field: str) -> tuple[Instant, Instant]:
    """Return start and end in microseconds. Raises InvalidArgument if they are the same microsecond."""
    start, end = from_timestamp(interval.start_time), from_timestamp(interval.end_time)
    if end <= start:
        raise InvalidArgument.field(field, english("its end must be after the start"))
    return start, end


def open_interval(interval: Interval) -> tuple[Instant | None, Instant | None]:
    """Return start and end, None for each that is not set."""
    return (
        from_timestamp(interval.start_time) if interval.HasField("start_time") else None,
        from_timestamp(interval.end_time) if interval.HasField("end_time") else None,
    )


def token(node: str, position: LogPosition) -> str:
    """Return the consistency token of a commit of this node."""
    return encode_token(CommitPosition("results", node, position))
