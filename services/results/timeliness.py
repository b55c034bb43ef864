"""Who is late: delays from report to upload, kept as counts while results come in.

A delay falls into a class a twentieth wider than the one before, so a quantile read from the counts is at most a
twentieth too long, at any size of the store.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from services.domain.instant import HOUR, SECOND, Instant, Span
from services.results import tables

GROWTH = 1.05
DEFAULT_LATE: Span = 4 * HOUR
"""The notice of 29 July 2022 sets no deadline; two to four hours to the national platform were usual."""

_delays = tables.delays
_nationwide = tables.nationwide_delays
_LOG_GROWTH = math.log(GROWTH)


@dataclass(frozen=True, slots=True)
class Timeliness:
    """How promptly a laboratory's results of an interval were uploaded. Quantiles are None when there are none."""

    result_count: int
    p50: Span | None
    p95: Span | None
    p99: Span | None
    late_count: int
    last_upload_time: Instant | None


class Summary(NamedTuple):
    """Laboratories by code and under "" all of them, and the horizon of retention where the interval begins before."""

    by_subject: dict[str, Timeliness]
    horizon: Instant | None


def delay_class(delay: Span) -> int:
    """The class of a delay; 0 for what was uploaded within a second or, by another clock, before it was reported."""
    seconds = max(delay, 0) / SECOND
    return int(math.log(seconds) / _LOG_GROWTH) + 1 if seconds > 1 else 0


def longest_of_class(class_: int) -> Span:
    """The longest delay of a class."""
    return int(GROWTH**class_ * SECOND)


def record_delays(connection: Connection, lab: str, report_times: Iterable[Instant], now: Instant) -> None:
    """Count results that were uploaded now by the times of their reports."""
    counts: Counter[tuple[int, int]] = Counter()
    for report_time, persons in Counter(report_times).items():
        counts[report_time // HOUR, delay_class(now - report_time)] += persons
    if not counts:
        return
    # In one order everywhere, so that two uploads of one laboratory wait for one another and never in a circle.
    rows = [
        {"lab": lab, "report_hour": hour, "delay_class": class_, "persons": persons, "last_upload_time": now}
        for (hour, class_), persons in sorted(counts.items())
    ]
    new = sqlite.insert(_delays) if connection.dialect.name == "sqlite" else postgresql.insert(_delays)
    connection.execute(
        new.on_conflict_do_update(
            index_elements=[_delays.c.lab, _delays.c.report_hour, _delays.c.delay_class],
            set_={
                "persons": _delays.c.persons + new.excluded.persons,
                "last_upload_time": new.excluded.last_upload_time,
            },
        ),
        rows,
    )


def record_nationwide_delays(connection: Connection, lab: str, report_times: Iterable[Instant], delay: Span) -> None:
    """Count results that took a time from their upload to the nation by the times of their reports."""
    hours = Counter(report_time // HOUR for report_time in report_times)
    if not hours:
        return
    class_ = delay_class(delay)
    rows = [
        {"lab": lab, "report_hour": hour, "delay_class": class_, "persons": persons}
        for hour, persons in sorted(hours.items())
    ]
    new = sqlite.insert(_nationwide) if connection.dialect.name == "sqlite" else postgresql.insert(_nationwide)
    connection.execute(
        new.on_conflict_do_update(
            index_elements=[_nationwide.c.lab, _nationwide.c.report_hour, _nationwide.c.delay_class],
            set_={"persons": _nationwide.c.persons + new.excluded.persons},
        ),
        rows,
    )


def summarize(
    connection: Connection, labs: Sequence[str], start: Instant, end: Instant, late: Span
) -> dict[str, Timeliness]:
    """The timeliness of each of these laboratories over whole hours, and of all of them together under ""."""
    classes = (
        select(_delays.c.lab, _delays.c.delay_class, func.sum(_delays.c.persons), func.max(_delays.c.last_upload_time))
        .where(_delays.c.lab.in_(labs), _delays.c.report_hour >= start // HOUR, _delays.c.report_hour < -(-end // HOUR))
        .group_by(_delays.c.lab, _delays.c.delay_class)
    )
    counts: dict[str, Counter[int]] = {name: Counter() for name in ("", *labs)}
    last: dict[str, Instant] = {}
    for lab, class_, persons, upload_time in connection.execute(classes):
        for name in (lab, ""):
            counts[name][class_] += int(persons)
            last[name] = max(upload_time, last.get(name, upload_time))
    return {name: _timeliness(found, last.get(name), late) for name, found in counts.items()}


def _timeliness(counts: Counter[int], last_upload_time: Instant | None, late: Span) -> Timeliness:
    total = counts.total()
    # Whole classes beyond the threshold: nobody who kept it is called late.
    late_count = sum(persons for class_, persons in counts.items() if class_ and longest_of_class(class_ - 1) >= late)
    return Timeliness(
        total,
        _quantile(counts, total, 0.50),
        _quantile(counts, total, 0.95),
        _quantile(counts, total, 0.99),
        late_count,
        last_upload_time,
    )


def _quantile(counts: Counter[int], total: int, share: float) -> Span | None:
    """The longest delay of the class in which the share is reached; None when nothing was counted."""
    seen = 0
    for class_, persons in sorted(counts.items()):
        seen += persons
        if seen >= share * total:
            return longest_of_class(class_)
    return None
