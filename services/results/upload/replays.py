"""Answers replayed tubes, which lie below the committed offset of their upload. Nothing is stored.

Each person is checked, because a tube may differ from the tube that was sent before. If the report of a person is
stored with the same content, the person is a duplicate. Stored rejections are returned again, and new rejections are
returned too. If a person is neither stored nor rejected, different tubes were sent under this upload id before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from hutong_texts import Text, english
from sqlalchemy import Connection, delete, insert, select

from services.domain.errors import InvalidArgument, Violation
from services.domain.instant import Instant
from services.results.records.bulk import Bulk
from services.results.records.model import NewResult
from services.results.upload import tables
from services.results.upload.claims import is_stored
from services.results.upload.model import Rejection, UploadPosition, ValidatedBatch
from services.results.upload.validation import WHOLE_TUBE, part_removed

_rejections = tables.upload_rejections


@dataclass(frozen=True, slots=True)
class Replay:
    """The outcome for the replayed tubes of a batch: the number of their persons, and the rejections among them."""

    persons: int = 0
    rejections: Sequence[Rejection] = ()


def replay_tubes(
    connection: Connection,
    bulk: Bulk,
    position: UploadPosition,
    batch: ValidatedBatch,
    replayed: int,
    horizon: Instant | None,
) -> Replay:
    """Return the outcome for a batch's first `replayed` tubes, which lie below the committed offset.

    Raises:
        InvalidArgument: UPLOAD_ID_REUSED, a person of these tubes is neither stored nor rejected. This shows that
            different tubes were sent under this upload id earlier.
    """
    if not replayed:
        return Replay()
    rejected = _RejectionSet()
    for rejection in find_rejections(connection, position, batch.offset, replayed):
        if rejection.person_index >= batch.person_counts[rejection.tube_index]:
            raise upload_id_reused(batch.offset + rejection.tube_index)
        rejected.add([rejection])
    rejected.add(rejection for rejection in batch.rejections if rejection.tube_index < replayed)
    rows = [row for row in batch.results if row.tube_index < replayed and not rejected.covers(row)]
    known = bulk.find_keys(connection, position.lab, [row.report_number for row in rows]) if rows else {}
    missing = [row for row in rows if row.report_number not in known or not is_stored(row, known[row.report_number])]
    unknown, removed = part_removed(missing, horizon)
    if unknown:
        raise upload_id_reused(batch.offset + min(row.tube_index for row in unknown))
    rejected.add(removed)
    return Replay(sum(batch.person_counts[:replayed]), rejected.in_order())


class _RejectionSet:
    """Rejections by item.

    A rejection of a whole tube replaces the rejections of its persons. If an item gets two rejections, the first stays.
    """

    def __init__(self) -> None:
        self._by_tube: dict[int, dict[int, Rejection]] = {}

    def add(self, rejections: Iterable[Rejection]) -> None:
        for rejection in rejections:
            of_tube = self._by_tube.setdefault(rejection.tube_index, {})
            if WHOLE_TUBE in of_tube:
                continue
            if rejection.person_index == WHOLE_TUBE:
                of_tube.clear()
            of_tube.setdefault(rejection.person_index, rejection)

    def covers(self, row: NewResult) -> bool:
        of_tube = self._by_tube.get(row.tube_index, {})
        return WHOLE_TUBE in of_tube or row.person_index in of_tube

    def in_order(self) -> list[Rejection]:
        return [of_tube[person] for _, of_tube in sorted(self._by_tube.items()) for person in sorted(of_tube)]


def upload_id_reused(offset: int) -> InvalidArgument:
    """Return the error for tubes below the committed offset that differ from the tubes sent before."""
    text = english(
        "was used before for other tubes: the one at {offset} is not stored; upload under a new id", offset=offset
    )
    violation = Violation("start.upload_id", "UPLOAD_ID_REUSED", text)
    return InvalidArgument(
        "UPLOAD_ID_REUSED",
        english("{field}: {description}", field=violation.field, description=text),
        violations=[violation],
        metadata={"field": violation.field, "offset": str(offset)},
    )


def count_rejected(rejections: Iterable[Rejection], person_counts: Sequence[int]) -> int:
    """Return how many persons are rejected. A rejected tube counts all its persons."""
    return sum(
        person_counts[rejection.tube_index] if rejection.person_index == WHOLE_TUBE else 1 for rejection in rejections
    )


def store_rejections(
    connection: Connection, position: UploadPosition, offset: int, rejections: Sequence[Rejection]
) -> None:
    """Store the rejections of the batch at an offset, so that a replay can return them again."""
    if not rejections:
        return
    connection.execute(
        insert(_rejections),
        [
            {
                "lab": position.lab,
                "upload_id": position.upload_id,
                "tube_offset": offset + rejection.tube_index,
                "person_index": rejection.person_index,
                "retryable": rejection.retryable,
                "violations": orjson.dumps([_to_json(fault) for fault in rejection.violations], default=str).decode(),
            }
            for rejection in rejections
        ],
    )


def _to_json(fault: Violation) -> list[Any]:
    """Return a fault in the form in which it is stored.

    If values were put into a template, the template is stored too.
    """
    described = fault.description
    stored = [fault.field, fault.reason, str(described)]
    return [*stored, described.template, dict(described.values)] if described.values else stored


def _from_json(
    field: str, reason: str, description: str, template: str = "", values: Mapping[str, Any] | None = None
) -> Violation:
    """Return a stored fault. Faults that an earlier version stored have no template."""
    return Violation(field, reason, Text(template, values) if values else Text(description))


def find_rejections(connection: Connection, position: UploadPosition, offset: int, count: int) -> list[Rejection]:
    """Return the rejections of `count` tubes from an offset on. Their tube indexes count from the offset."""
    rows = connection.execute(
        select(_rejections.c.tube_offset, _rejections.c.person_index, _rejections.c.retryable, _rejections.c.violations)
        .where(
            _rejections.c.lab == position.lab,
            _rejections.c.upload_id == position.upload_id,
            _rejections.c.tube_offset >= offset,
            _rejections.c.tube_offset < offset + count,
        )
        .order_by(_rejections.c.tube_offset, _rejections.c.person_index)
    )
    return [
        Rejection(
            row.tube_offset - offset,
            row.person_index,
            tuple(_from_json(*fault) for fault in orjson.loads(row.violations)),
            row.retryable,
        )
        for row in rows
    ]


def delete_rejections(connection: Connection, position: UploadPosition) -> None:
    """Delete rejections of an earlier upload with this id.

    Retention has removed that upload, but not these rejections.
    """
    connection.execute(
        delete(_rejections).where(_rejections.c.lab == position.lab, _rejections.c.upload_id == position.upload_id)
    )
