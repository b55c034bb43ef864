"""Statements that count delays by laboratory, city or province, as a whole or by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Select, Table, func, literal, select

from services.domain.instant import DAY, HOUR, shanghai_day_start
from services.domain.periods import part_of
from services.results.labs.tables import labs
from services.results.timeliness.model import Counts, Question
from services.results.timeliness.tables import delays, national_delays
from services.storage.columns import in_region

Part = tuple[int, int] | None
"""Start and end of a part of the interval; None if the interval is not divided."""
Counted = dict[str, dict[Part, Counts]]
"""Counts by key and part."""

_SHANGHAI_HOURS = 8
"""How many hours the days of Asia/Shanghai begin before those of UTC."""
_DAY_HOURS = DAY // HOUR


def count_by_region(
    connection: Connection, region: str, digits: int, question: Question, only: Sequence[str] | None = None
) -> Counted:
    """Count the laboratories of a region together for each of its regions whose codes have so many digits of their own.

    The keys are codes of six digits. With 0 digits the one key is empty. `only` restricts the count to these keys.
    """
    found = _fold(read_counts(connection, region, digits, question, only), question)
    return {code.ljust(6, "0") if code else "": counts for code, counts in found.items()}


def count_by_lab(connection: Connection, codes: Sequence[str], question: Question) -> Counted:
    """Count each of these laboratories."""
    return _fold(_read_labs(connection, codes, question), question)


def sum_up(counted: Iterable[Mapping[Part, Counts]]) -> dict[Part, Counts]:
    """Return the sum of counts, for each part."""
    total: defaultdict[Part, Counts] = defaultdict(Counts)
    for by_part in counted:
        for part, counts in by_part.items():
            total[part].add(counts)
    return dict(total)


def count_labs(connection: Connection, region: str, digits: int) -> dict[str, int]:
    """Return how many laboratories each region has that `count_by_region` counts."""
    key = _own_digits(digits).label("group_key")
    query = select(key, func.count()).select_from(labs).where(in_region(labs.c.region, region))
    if digits:
        query = query.group_by(key)
    return {code.ljust(6, "0") if code else "": int(count) for code, count in connection.execute(query)}


def read_counts(
    connection: Connection, region: str, digits: int, question: Question, only: Sequence[str] | None = None
) -> list[Any]:
    """Return rows of counts of a region's laboratories: to upload, then to the nation."""
    found: list[Any] = []
    for table in (delays, national_delays):
        query = _count(table, _own_digits(digits), question)
        query = query.select_from(table.join(labs, labs.c.uscc == table.c.lab)).where(in_region(labs.c.region, region))
        if only is not None:
            # Without the subquery, SQLite reads the counts of all laboratories.
            asked = select(labs.c.uscc).where(_own_digits(digits).in_([key[:digits] for key in only]))
            query = query.where(table.c.lab.in_(asked))
        found += connection.execute(query)
    return found


def _read_labs(connection: Connection, codes: Sequence[str], question: Question) -> list[Any]:
    """Return rows of counts of laboratories: to upload, then to the nation."""
    found: list[Any] = []
    for table in (delays, national_delays):
        found += connection.execute(_count(table, table.c.lab, question).where(table.c.lab.in_(codes)))
    return found


def _own_digits(digits: int) -> ColumnElement[str]:
    """Return the first digits of a laboratory's region; an empty text for none."""
    return func.substr(labs.c.region, 1, digits) if digits else literal("")


def _count(table: Table, key: ColumnElement[str], question: Question) -> Select[Any]:
    """Return the query for counts by key, day and class, over the hours that overlap the interval.

    The day is 0 if the interval is not divided. An upload time of -1 marks counts to the nation.
    """
    day = (table.c.report_hour + _SHANGHAI_HOURS) // _DAY_HOURS if question.period else literal(0)
    newest = func.max(table.c.last_upload_time) if table is delays else literal(-1)
    columns: list[ColumnElement[Any]] = [key.label("group_key"), day.label("day"), table.c.delay_class]
    hour = table.c.report_hour
    hours = hour >= question.start // HOUR, hour < -(-question.end // HOUR)
    query = select(*columns, func.sum(table.c.persons), newest).where(*hours)
    # Databases do not group by constants.
    varying = [it for it in columns if not isinstance(getattr(it, "element", it), BindParameter)]
    return query.group_by(*varying)


def _fold(rows: Iterable[Any], question: Question) -> Counted:
    """Return counts by key and part from rows by key and day. An upload time of -1 marks counts to the nation."""
    found: defaultdict[str, defaultdict[Part, Counts]] = defaultdict(lambda: defaultdict(Counts))
    parts: dict[int, Part] = {}
    for key, day, class_, persons, upload_time in rows:
        if day not in parts:
            parts[day] = _part(day, question)
        counts = found[key][parts[day]]
        if upload_time == -1:
            counts.to_nation[class_] += int(persons)
        else:
            counts.to_upload[class_] += int(persons)
            counts.note_upload(upload_time)
    return {key: dict(by_part) for key, by_part in found.items()}


def _part(day: int, question: Question) -> Part:
    if not question.period:
        return None
    # A day at the edge of the interval may begin before the interval does.
    instant = max(shanghai_day_start(day), question.start)
    return part_of(instant, question.period, question.start, question.end)
