"""Batches that come again: what lies below an upload's committed offset is told once more, and nothing is stored.

Nobody is acknowledged on the word of the offset alone. What is stored as it was sent is a duplicate, what was rejected
is told again, what would be rejected now is told so; whoever is none of these belongs to another upload.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
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
    """What is told of the replayed beginning of a batch."""

    persons: int = 0
    rejections: Sequence[Rejection] = ()


def retell(
    connection: Connection,
    bulk: Bulk,
    position: UploadPosition,
    batch: ValidatedBatch,
    replayed: int,
    horizon: Instant | None,
) -> Replay:
    """What is told of a batch's first tubes, so many as lie below the committed offset.

    Raises:
        InvalidArgument: UPLOAD_ID_REUSED, somebody of them was neither stored nor rejected: other tubes came before.
    """
    if not replayed:
        return Replay()
    told = _Told()
    for rejection in recall_rejections(connection, position, batch.offset, replayed):
        if rejection.person_index >= batch.person_counts[rejection.tube_index]:
            raise upload_id_reused(batch.offset + rejection.tube_index)
        told.add([rejection])
    told.add(rejection for rejection in batch.rejections if rejection.tube_index < replayed)
    rows = [row for row in batch.results if row.tube_index < replayed and not told.covers(row)]
    known = bulk.find_keys(connection, position.lab, [row.report_number for row in rows]) if rows else {}
    missing = [row for row in rows if row.report_number not in known or not is_stored(row, known[row.report_number])]
    strangers, removed = part_removed(missing, horizon)
    if strangers:
        raise upload_id_reused(batch.offset + min(row.tube_index for row in strangers))
    told.add(removed)
    return Replay(sum(batch.person_counts[:replayed]), told.in_order())


class _Told:
    """Rejections, for each tube one of the whole or one for each of its persons; the first to be added is told."""

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
    """The error for tubes that are sent below the committed offset, and are not those that were sent there before."""
    text = f"was used before for other tubes: the one at {offset} is not stored; upload under a new id"
    violation = Violation("start.upload_id", "UPLOAD_ID_REUSED", text)
    return InvalidArgument(
        "UPLOAD_ID_REUSED",
        f"{violation.field}: {text}",
        violations=[violation],
        metadata={"field": violation.field, "offset": str(offset)},
    )


def count_rejected(rejections: Iterable[Rejection], person_counts: Sequence[int]) -> int:
    """How many persons rejections stand for."""
    return sum(
        person_counts[rejection.tube_index] if rejection.person_index == WHOLE_TUBE else 1 for rejection in rejections
    )


def remember_rejections(
    connection: Connection, position: UploadPosition, offset: int, rejections: Sequence[Rejection]
) -> None:
    """Keep what was rejected of the batch at an offset, so that it can be told again."""
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
                "violations": orjson.dumps(
                    [[fault.field, fault.reason, fault.description] for fault in rejection.violations]
                ).decode(),
            }
            for rejection in rejections
        ],
    )


def recall_rejections(connection: Connection, position: UploadPosition, offset: int, count: int) -> list[Rejection]:
    """What was rejected of so many tubes from an offset on, with their indices counted from there."""
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
            tuple(Violation(*fault) for fault in orjson.loads(row.violations)),
            row.retryable,
        )
        for row in rows
    ]


def forget_rejections(connection: Connection, position: UploadPosition) -> None:
    """Forget what was rejected of an upload of this id that retention has removed; this one begins anew."""
    connection.execute(
        delete(_rejections).where(_rejections.c.lab == position.lab, _rejections.c.upload_id == position.upload_id)
    )
