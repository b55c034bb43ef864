"""Packs of reads.

One row holds all events that are stored together, in columns. A value that events share is held once.

If each read had a row, it would need an entry in the table and in the index, and would repeat most of its text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from services.audit.keys import TAG_LENGTH
from services.audit.model import StoredEvent
from services.domain.instant import Instant
from services.runtime.audit import AuditEvent, AuditKind

MOST_EVENTS = 2_000
"""The most events of one pack, so that a listing reads a pack of bounded size."""
_DENIAL = int(AuditKind.DENIAL)
NO_TAG = bytes(TAG_LENGTH)
"""Stands for the tag if an event is not about a single person."""
_LISTED = tuple(name for name in AuditEvent._fields if name not in {"time", "subject_tag"})
"""The fields in the JSON of a pack. The time and the tags are not among them, because they have columns of their
own."""


class Pack(NamedTuple):
    """A pack as it is stored (`services.audit.tables`). Its events have the sequences from `sequence` on."""

    writer_id: int
    sequence: int
    event_count: int
    time: Instant
    has_denials: bool
    tags: bytes
    events: str

    @property
    def last_sequence(self) -> int:
        """The sequence of the last event."""
        return self.sequence + self.event_count - 1


def split_events(events: Sequence[AuditEvent]) -> Iterator[Sequence[AuditEvent]]:
    """Yield the events of each pack. The events of one pack have one time."""
    time = events[0].time
    if len(events) <= MOST_EVENTS and [event.time for event in events].count(time) == len(events):
        yield events
        return
    by_time = attrgetter("time")
    for _, found in groupby(sorted(events, key=by_time), by_time):
        together = list(found)
        for start in range(0, len(together), MOST_EVENTS):
            yield together[start : start + MOST_EVENTS]


def pack_events(writer_id: int, sequence: int, events: Sequence[AuditEvent]) -> Pack:
    """Pack events of one time. `sequence` is the sequence of the first event."""
    columns = dict(zip(AuditEvent._fields, zip(*events, strict=True), strict=True))
    return Pack(
        writer_id,
        sequence,
        len(events),
        events[0].time,
        _DENIAL in columns["kind"],
        b"".join([tag or NO_TAG for tag in columns["subject_tag"]]),
        orjson.dumps({name: _pack_column(columns[name]) for name in _LISTED}).decode(),
    )


def unpack_events(pack: Pack) -> list[StoredEvent]:
    """Return the events of a pack in order."""
    count = pack.event_count
    packed = orjson.loads(pack.events)
    # Packs that were stored before the audit recorded cases have no column of cases.
    columns = {name: _unpack_column(packed.get(name, ""), count) for name in _LISTED}
    columns["time"] = [pack.time] * count
    cut = (pack.tags[start : start + TAG_LENGTH] for start in range(0, count * TAG_LENGTH, TAG_LENGTH))
    columns["subject_tag"] = [None if tag == NO_TAG else tag for tag in cut]
    rows = zip(*(columns[name] for name in AuditEvent._fields), strict=True)
    return [StoredEvent(pack.writer_id, sequence, *row) for sequence, row in enumerate(rows, pack.sequence)]


def chain_pack(digest: bytes, pack: Pack) -> bytes:
    """Return the digest of a writer after a pack: SHA-256 over the digest before the pack, and the pack."""
    writer_id, sequence, count, time, has_denials, tags, events = pack
    stated = f"{writer_id}\t{sequence}\t{count}\t{time}\t{int(has_denials)}\t{len(tags)}\t"
    return sha256(b"".join((digest, stated.encode(), tags, events.encode()))).digest()


def _pack_column(values: Sequence[Any]) -> Any:
    """Return a column in its shortest form.

    If all events share one value, the form is that value. Otherwise the form is the different values with an index for
    each event; or, if most values differ, the values of all events.
    """
    # Comparing costs less than hashing, and the events of a pack share nearly all values.
    if values.count(values[0]) == len(values):
        return values[0]
    distinct = dict.fromkeys(values)
    if 2 * len(distinct) > len(values):
        return values
    numbers = {value: number for number, value in enumerate(distinct)}
    return {"of": list(distinct), "at": list(map(numbers.__getitem__, values))}


def _unpack_column(packed: Any, count: int) -> Sequence[Any]:
    if isinstance(packed, dict):
        return [packed["of"][number] for number in packed["at"]]
    return packed if isinstance(packed, list) else [packed] * count
