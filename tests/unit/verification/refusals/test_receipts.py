"""Codes of receipts, and hashes by which two reports of one refusal find each other."""

from __future__ import annotations

import pytest

from services.domain.instant import DAY, HOUR, Instant
from services.domain.subject import Pepper
from services.runtime.ids import uuid7
from services.verification.refusals.receipts import (
    format_code,
    parse_code,
    receipt_code,
    request_hash,
    same_report_key,
)

PEPPER = Pepper(b"p" * 32)
NOON: Instant = 1_660_190_400_000_000
"""2022-08-11T12:00:00+08:00."""


def test_a_code_is_read_as_people_type_it() -> None:
    """A code may be typed in small letters, with spaces or without hyphens, and with O and I for digits."""
    code = receipt_code(uuid7(), PEPPER)
    shown = format_code(code)
    assert len(code) == 16
    assert [len(group) for group in shown.split("-")] == [4, 4, 4, 4]
    for typed in (
        shown,
        code.lower(),
        shown.replace("-", " "),
        f" {shown}\n",
        code.replace("0", "o").replace("1", "i"),
    ):
        assert parse_code(typed) == code


def test_codes_depend_on_report_and_pepper() -> None:
    uuid = uuid7()
    codes = {receipt_code(uuid, PEPPER), receipt_code(uuid7(), PEPPER), receipt_code(uuid, Pepper(b"q" * 32))}
    assert len(codes) == 3
    assert receipt_code(uuid, PEPPER) in codes


@pytest.mark.parametrize(("hours", "is_same"), [(0, True), (11, True), (12, False), (-12, True), (-13, False)])
def test_a_day_is_one_of_shanghai(hours: int, is_same: bool) -> None:
    first = same_report_key(b"k" * 16, "410105", 4, NOON)
    assert (same_report_key(b"k" * 16, "410105", 4, NOON + hours * HOUR) == first) is is_same
    others = [(b"l" * 16, "410105", 4, NOON), (b"k" * 16, "410106", 4, NOON), (b"k" * 16, "410105", 5, NOON)]
    assert first not in [same_report_key(*other) for other in others]
    assert first != same_report_key(b"k" * 16, "410105", 4, NOON + DAY)


def test_a_request_id_is_known_by_its_hash_alone() -> None:
    given = "01890000-0000-4000-8000-00000000000A"
    assert request_hash("", PEPPER) is None
    assert request_hash(given, PEPPER) == request_hash(given.lower(), PEPPER) != request_hash(given, Pepper(b"q" * 32))
