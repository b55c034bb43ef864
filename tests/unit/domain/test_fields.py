"""Checks of single fields: what passes, and what is said of what does not."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.type.v1.identity_pb2 import DOCUMENT_TYPE_RESIDENT_ID_CARD, IdentityDocument

from services.domain.document import canonical_document
from services.domain.errors import Violation
from services.domain.fields import check_document, check_region, check_text, check_time

NUMBER = "410105186001010019"
YEAR_1900, YEAR_9000 = -2_208_988_800, 221_845_392_000


def test_a_region_that_is_none_is_found() -> None:
    """Under the field's name; one of the table is not."""
    found: list[Violation] = []
    check_region("410105", "region", found)
    check_region("419999", "lab.region", found)
    assert [(one.field, one.reason) for one in found] == [("lab.region", "REGION_UNKNOWN")]


def test_a_document_comes_back_canonical() -> None:
    """The document is as `canonical_document` returns it."""
    found: list[Violation] = []
    document = IdentityDocument(type=DOCUMENT_TYPE_RESIDENT_ID_CARD, number=f" {NUMBER} ")
    assert check_document(document, "document", found) == canonical_document(document.type, NUMBER)
    assert not found


def test_a_document_that_cannot_be_right_is_found_and_never_printed() -> None:
    """The error names the faulty field, and does not contain the number."""
    found: list[Violation] = []
    document = IdentityDocument(type=DOCUMENT_TYPE_RESIDENT_ID_CARD, number="410105186001010010")
    assert check_document(document, "holder", found) is None
    assert [(one.field, one.reason) for one in found] == [("holder.number", "BAD_DOCUMENT_NUMBER")]
    assert document.number not in repr(found)


@pytest.mark.parametrize(
    ("seconds", "nanos", "good"),
    [
        (YEAR_1900, 0, True),
        (YEAR_1900 - 1, 0, False),
        (YEAR_9000 - 1, 999_999_999, True),
        (YEAR_9000, 0, False),
        (0, -1, False),
        (0, 1_000_000_000, False),
    ],
)
def test_a_time_outside_the_calendars_is_found(seconds: int, nanos: int, good: bool) -> None:
    """Accepted times are from 1900 on and before 9000, with possible nanos."""
    found: list[Violation] = []
    check_time(Timestamp(seconds=seconds, nanos=nanos), "use_time", found)
    assert (not found) == good


def test_a_nul_character_is_found() -> None:
    """No other character is refused."""
    found: list[Violation] = []
    check_text("a\n", "venue", found)
    check_text("a\0b", "statement", found)
    assert [one.field for one in found] == ["statement"]
