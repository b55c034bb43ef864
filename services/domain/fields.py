"""Checks of single fields, shared by all services.

A function `check_...` appends its violations to a list. An error can therefore name all faulty fields.
"""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.type.v1.identity_pb2 import IdentityDocument
from hutong_texts import english

from services.domain.document import BadDocument, Document, canonical_document
from services.domain.errors import InvalidArgument, Violation
from services.domain.instant import Instant, from_timestamp
from services.domain.region import is_region

_EARLIEST = -2_208_988_800
"""1900-01-01T00:00:00Z in seconds. No instant in this system is earlier."""
_LATEST = 221_845_392_000
"""9000-01-01T00:00:00Z in seconds. The end of any window that begins earlier has a year of four digits, as RFC 3339
requires."""
_END_SECONDS = 253_402_300_800
"""10000-01-01T00:00:00Z in seconds. Timestamps end before it."""


def check_region(region: str, field: str, found: list[Violation]) -> None:
    """Add REGION_UNKNOWN if a code is not a region."""
    if not is_region(region):
        found.append(Violation(field, "REGION_UNKNOWN", english("is not a region of GB/T 2260")))


def known_region(region: str, field: str) -> str:
    """Return a region. Raises InvalidArgument REGION_UNKNOWN if the code is not a region of GB/T 2260."""
    found: list[Violation] = []
    check_region(region, field, found)
    if found:
        raise InvalidArgument.of(found)
    return region


def check_document(document: IdentityDocument, field: str, found: list[Violation]) -> Document | None:
    """Return the canonical document. If its number is impossible, add BAD_DOCUMENT_NUMBER and return None."""
    try:
        return canonical_document(document.type, document.number, document.issuing_country)
    except BadDocument as error:
        found.append(Violation(f"{field}.{error.field}", "BAD_DOCUMENT_NUMBER", error.expected))
        return None


def check_time(time: Timestamp, field: str, found: list[Violation]) -> None:
    """Add INVALID_FIELD if a time is malformed or lies outside the years 1900 to 8999."""
    if not (_EARLIEST <= time.seconds < _LATEST and 0 <= time.nanos < 1_000_000_000):
        found.append(Violation(field, "INVALID_FIELD", english("must lie between the years 1900 and 9000")))


def check_text(text: str, field: str, found: list[Violation]) -> None:
    """Add INVALID_FIELD if a text contains a NUL character, which PostgreSQL cannot store."""
    if "\0" in text:
        found.append(Violation(field, "INVALID_FIELD", english("must not hold a NUL character")))


def read_instant(timestamp: Timestamp, field: str, *, from_seconds: int = _EARLIEST) -> Instant:
    """Return the instant of a timestamp that another node sent. `field` names the timestamp in the error.

    Raises:
        InvalidArgument: the timestamp is before `from_seconds` or after 9999, or its nanos are impossible. A database
            cannot store every such timestamp.
    """
    if not (from_seconds <= timestamp.seconds < _END_SECONDS and 0 <= timestamp.nanos < 1_000_000_000):
        first = datetime.fromtimestamp(from_seconds, UTC).year
        raise InvalidArgument.field(field, english("is not an instant from {first} to 9999", first=first))
    return from_timestamp(timestamp)
