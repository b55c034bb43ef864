"""Fields that several wings read from the wire."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
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


def interval(start: Timestamp, end: Timestamp, end_field: str) -> tuple[Instant, Instant]:
    """Two instants in order; InvalidArgument when they are not."""
    first, last = from_timestamp(start), from_timestamp(end)
    if last <= first:
        raise InvalidArgument.field(end_field, "must be after the start")
    return first, last


def token(node: str, now: Instant) -> str:
    """The consistency token of what was committed at this node before now.

    To be made after the commit: by an earlier instant a reader elsewhere would believe to have seen what was still on
    its way into the store.
    """
    return encode_token(Freshness("results", node, now))
