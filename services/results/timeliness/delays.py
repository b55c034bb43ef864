"""Delays from report to upload, and from upload to the nation, counted by class as results come in.

The longest delay of a class is 5 % longer than that of the class before. A quantile that is read from the counts is
therefore at most 5 % too long. Reading a quantile costs the same for any number of results.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from sqlalchemy import Connection, Insert

from services.domain.instant import HOUR, SECOND, Instant, Span
from services.results.timeliness import tables
from services.storage.upsert import greater_for, insert_for

GROWTH = 1.05
"""The ratio between the longest delays of two neighbouring classes. It bounds the error of quantiles to 5 %."""
DEFAULT_LATE: Span = 4 * HOUR
"""The delay beyond which an upload counts as late by default.

The notice of 29 July 2022 sets no deadline. Two to four hours to the national platform were usual.
"""

_delays = tables.delays
_nationwide = tables.national_delays
_last = tables.last_uploads
_LOG_GROWTH = math.log(GROWTH)


class Quantiles(NamedTuple):
    """Quantiles of delays: 50 % of the delays were at most `p50`, 95 % at most `p95`, and 99 % at most `p99`."""

    p50: Span
    p95: Span
    p99: Span


@dataclass(frozen=True, slots=True)
class Timeliness:
    """The delays of a laboratory's results from report to upload, and from upload to the nation, in an interval.

    Quantiles are None if nothing was counted.
    """

    result_count: int
    to_upload: Quantiles | None
    to_nation: Quantiles | None
    late_count: int
    last_upload_time: Instant | None


def delay_class(delay: Span) -> int:
    """Return the class of a delay.

    Class 0 has delays of up to one second, and negative delays, which clock skew causes.
    """
    seconds = max(delay, 0) / SECOND
    return int(math.log(seconds) / _LOG_GROWTH) + 1 if seconds > 1 else 0


def longest_of_class(class_: int) -> Span:
    """Return the longest delay of a class."""
    return int(GROWTH**class_ * SECOND)


def record_delays(connection: Connection, lab: str, report_times: Iterable[Instant], now: Instant) -> None:
    """Count results that are uploaded now, given the times of their reports."""
    record_all_delays(connection, lab, [(report_times, now)])


def record_all_delays(connection: Connection, lab: str, uploads: Iterable[tuple[Iterable[Instant], Instant]]) -> None:
    """Count the results of several uploads of a laboratory.

    Each upload is given by the times of its reports and by its upload time. The uploads are in the order of time.
    """
    counts: Counter[tuple[int, int]] = Counter()
    newest: dict[tuple[int, int], Instant] = {}
    for report_times, upload_time in uploads:
        for report_time, persons in Counter(report_times).items():
            of = report_time // HOUR, delay_class(upload_time - report_time)
            counts[of] += persons
            newest[of] = upload_time
    if not counts:
        return
    # Every upload updates rows in the same order, so that two uploads of one laboratory never deadlock.
    rows = [
        {
            "lab": lab,
            "report_hour": hour,
            "delay_class": class_,
            "persons": persons,
            "last_upload_time": newest[hour, class_],
        }
        for (hour, class_), persons in sorted(counts.items())
    ]
    add_counts, note_newest = _statements(connection.dialect.name)
    connection.execute(add_counts, rows)
    connection.execute(note_newest, {"lab": lab, "upload_time": max(newest.values())})


@cache
def _statements(dialect: str) -> tuple[Insert, Insert]:
    """Return the statements that add counts, and that keep the time of the newest upload.

    They are built once, because each upload executes both, and building them costs more than that.
    """
    new = insert_for(dialect, _delays)
    add_counts = new.on_conflict_do_update(
        index_elements=[_delays.c.lab, _delays.c.report_hour, _delays.c.delay_class],
        set_={
            "persons": _delays.c.persons + new.excluded.persons,
            # Another node may send an earlier upload after a later one.
            "last_upload_time": greater_for(dialect, _delays.c.last_upload_time, new.excluded.last_upload_time),
        },
    )
    last = insert_for(dialect, _last)
    note_newest = last.on_conflict_do_update(
        index_elements=[_last.c.lab],
        set_={"upload_time": last.excluded.upload_time},
        where=last.excluded.upload_time > _last.c.upload_time,
    )
    return add_counts, note_newest


def record_national_delays(connection: Connection, lab: str, report_times: Iterable[Instant], delay: Span) -> None:
    """Count results that reached the nation `delay` after their upload, given the times of their reports."""
    hours = Counter(report_time // HOUR for report_time in report_times)
    if not hours:
        return
    class_ = delay_class(delay)
    rows = [
        {"lab": lab, "report_hour": hour, "delay_class": class_, "persons": persons}
        for hour, persons in sorted(hours.items())
    ]
    connection.execute(_national_statement(connection.dialect.name), rows)


@cache
def _national_statement(dialect: str) -> Insert:
    """Return the statement that adds counts of delays to the nation. It is built once, as `_statements` are."""
    new = insert_for(dialect, _nationwide)
    return new.on_conflict_do_update(
        index_elements=[_nationwide.c.lab, _nationwide.c.report_hour, _nationwide.c.delay_class],
        set_={"persons": _nationwide.c.persons + new.excluded.persons},
    )


def timeliness_of(
    counts: Counter[int], to_nation: Counter[int], last_upload_time: Instant | None, late: Span
) -> Timeliness:
    """Return the summary of persons that are counted by class of delay.

    `late` is the longest delay that does not count as late.
    """
    # A class counts as late only if all its delays exceed the threshold. A result within the threshold therefore never
    # counts as late.
    late_count = sum(persons for class_, persons in counts.items() if class_ and longest_of_class(class_ - 1) >= late)
    return Timeliness(counts.total(), _quantiles(counts), _quantiles(to_nation), late_count, last_upload_time)


def _quantiles(counts: Counter[int]) -> Quantiles | None:
    total = counts.total()
    return Quantiles(*(quantile_of(counts, total, share) for share in (0.50, 0.95, 0.99))) if total else None


def quantile_of(counts: Counter[int], total: int, share: float) -> Span:
    """Return the upper bound of the delay class within which this share of all persons was reported."""
    classes = sorted(counts)
    seen = accumulate(counts[class_] for class_ in classes)
    return longest_of_class(
        next(class_ for class_, so_far in zip(classes, seen, strict=True) if so_far >= share * total)
    )
