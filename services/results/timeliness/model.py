"""The question for a summary of timeliness, and its rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.results.v1 import timeliness_pb2

from services.domain.instant import Instant, Span
from services.results.timeliness.delays import Timeliness

if TYPE_CHECKING:
    from services.domain.periods import Period

    Grouping: TypeAlias = timeliness_pb2.TimelinessGrouping.ValueType

WHOLE = ""
"""The key of the row of the whole region. It is before every other key."""


class Position(NamedTuple):
    """The position of a row: its grouping, its key, and the start of its part of the interval."""

    grouping: Grouping
    key: str
    start: Instant


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a region or of a laboratory.

    Attributes:
        late: the longest delay that is not late.
        silent_before: a laboratory is silent if its last upload was before this instant.
        now: the instant for which the standing of laboratories is read.
        kept_from: the horizon of retention, before which nothing is counted; None if retention has removed nothing.
    """

    start: Instant
    end: Instant
    late: Span
    period: Period
    silent_before: Instant
    now: Instant
    kept_from: Instant | None = None


@dataclass(slots=True)
class Counts:
    """Persons counted by class of delay, and the time of the last upload."""

    to_upload: Counter[int] = field(default_factory=Counter)
    to_nation: Counter[int] = field(default_factory=Counter)
    last_upload_time: Instant | None = None

    def add(self, other: Counts) -> None:
        """Add other counts to these."""
        self.to_upload.update(other.to_upload)
        self.to_nation.update(other.to_nation)
        self.note_upload(other.last_upload_time)

    def note_upload(self, upload_time: Instant | None) -> None:
        """Note an upload, which may be the last one."""
        if upload_time is not None:
            self.last_upload_time = max(upload_time, self.last_upload_time or upload_time)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a summary.

    Attributes:
        grouping: what the row stands for.
        key: the laboratory's code, the code of the province or city, or WHOLE.
        part: start and end of the row's part of the interval; None if the interval is not divided.
        name: a laboratory's registered name.
        contact: a laboratory's contact.
        silence_start: the last upload of a silent laboratory; None for a laboratory that is not silent.
        lab_count: how many laboratories a region has; None in rows of laboratories and in rows of a part of the
            interval.
        silent_count: how many of them are silent.
    """

    grouping: Grouping
    key: str
    timeliness: Timeliness
    part: tuple[Instant, Instant] | None = None
    name: str = ""
    contact: str = ""
    silence_start: Instant | None = None
    lab_count: int | None = None
    silent_count: int | None = None

    @property
    def position(self) -> Position:
        """The row's position in the order of all rows."""
        return Position(self.grouping, self.key, self.part[0] if self.part else 0)


class Page(NamedTuple):
    """Rows of a summary, and the horizon of retention if the interval begins before it (else None)."""

    rows: list[Row]
    horizon: Instant | None
