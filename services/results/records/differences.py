"""Finds the field in which a new result differs from the stored report of the same number.

The content hash says only that two reports differ. Therefore the stored columns are compared. They are compared in the
form that the database engine takes, because new results exist only in that form before their commit.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from services.domain.subject import is_comparable
from services.results.records.model import NewResult, StoredResult
from services.results.records.row_columns import TUBE_COLUMNS, VALIDATED_COLUMNS
from services.results.records.row_format import row_form, split_columns

_COLUMNS = VALIDATED_COLUMNS[VALIDATED_COLUMNS.index("name_hash") :]
_COMPARED = tuple(name for name in TUBE_COLUMNS if name not in {"reference_time", "item"})
"""The fields of a tube that are compared, in the contract's order. The reference time is left out, because it always
equals the report time or the sample time."""


class Difference(NamedTuple):
    """The first field that differs.

    Attributes:
        field: "document", "name", or the name of a field of the tube.
        stored_item: the id of the stored report's item.
    """

    field: str
    stored_item: str


class Content(NamedTuple):
    """The content of a report, as far as it is compared.

    Attributes:
        subject_key: the key of its subject.
        columns: the columns of its row from `name_hash` on. None stands for a value that cannot be compared.
    """

    subject_key: bytes
    columns: tuple[object, ...]


Digest: TypeAlias = bytes
"""The digest of a content: a checksum of four bytes in place of each value. The values would take ten times as much
memory.

Two different values may have the same checksum. The difference is then found in a later field, or in none.
"""
_DIGEST_BYTES = 4


def content_of(row: NewResult) -> Content:
    """Return the content of a new result."""
    return Content(row.subject_key, split_columns(row.result_row))


def digest_of(row: NewResult) -> Digest:
    """Return the digest of a new result's content."""
    return b"".join(map(_digest, _values(content_of(row))))


def _digest(value: object) -> bytes:
    return zlib.crc32(repr(value).encode()).to_bytes(_DIGEST_BYTES, "big")


def _values(content: Content) -> Sequence[object]:
    return (content.subject_key, *content.columns)


def stored_content(stored: StoredResult, dialect: str) -> Content:
    """Return the content of a stored report for the dialect in which new results are formatted."""
    form = row_form(dialect)
    subject = (
        stored.subject_key,
        stored.lab,
        stored.report_number,
        0,
        stored.name_hash,
        stored.masked_name,
        stored.masked_number,
    )
    name_hash, *others = split_columns(form.form_result(subject, form.form_tube(stored)))
    is_old = bool(stored.name_hash) and not is_comparable(stored.name_hash)
    return Content(stored.subject_key, (None if is_old else name_hash, *others))


def find_difference(row: NewResult, stored_item: str, content: Content | Digest | None) -> Difference | None:
    """Return the first field in which a new result differs from a stored report; None if all compared fields are equal.

    Args:
        row: the new result, under the key version of the stored report if both have the same subject.
        stored_item: the id of the stored report's item.
        content: the stored report or its digest; None if only its item is known.
    """
    if row.item != stored_item:
        return Difference("item", stored_item)
    if content is None:
        return None
    new_values: Sequence[object] = _values(content_of(row))
    old_values: Sequence[object]
    if isinstance(content, bytes):
        new_values = [_digest(value) for value in new_values]
        old_values = [content[at : at + _DIGEST_BYTES] for at in range(0, len(content), _DIGEST_BYTES)]
    else:
        old_values = _values(content)
    new, old = (dict(zip(("document", *_COLUMNS), values, strict=True)) for values in (new_values, old_values))
    if new["document"] != old["document"]:
        return Difference("document", stored_item)
    if old["name_hash"] is not None and new["name_hash"] != old["name_hash"]:
        return Difference("name", stored_item)
    field = next((name for name in _COMPARED if new[name] != old[name]), None)
    return Difference(field, stored_item) if field else None
