"""Statements that count delays by laboratory, city or province, for the whole interval or by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    func,
    literal,
    select,
    true,
)

from services.domain.instant import HOUR, shanghai_day_start
from services.domain.periods import part_of
from services.domain.region import prefix
from services.results.labs.tables import labs
from services.results.timeliness.model import Counts, Question
from services.results.timeliness.totals import DAY_HOURS, SHANGHAI_HOURS, TOTALS, hold_totals, is_new
from services.storage.columns import in_region
from services.storage.connections import is_distributed

Part = tuple[int, int] | None
"""Start and end of a part of the interval; None if the interval is not divided."""
Counted = dict[str, dict[Part, Counts]]
"""Counts by key and part."""

_CITY_DIGITS = 4
"""How many digits the code of a city has without the final zeros. The totals are by city."""
_DAYS_LISTED = 1_000
"""The most days that a statement lists one by one. The contract allows intervals of many more days than a statement
takes parameters."""


def count_by_region(
    connection: Connection, region: str, digits: int, question: Question, only: Sequence[str] | None = None
) -> Counted:
    """Count delays by the regions inside a region whose codes have so many digits without the final zeros.

    The keys are codes of six digits. With 0 digits the only key is empty. `only` restricts the count to these keys.
    """
    found = _fold(read_counts(connection, region, digits, question, only), question)
    return {code.ljust(6, "0") if code else "": counts for code, counts in found.items()}


def count_by_lab(connection: Connection, codes: Sequence[str], question: Question) -> Counted:
    """Count delays by laboratory."""
    return _fold(_read_labs(connection, codes, question), question)


def count_labs(connection: Connection, region: str, digits: int) -> dict[str, int]:
    """Return how many laboratories each region has. The regions are those that `count_by_region` counts."""
    key = _own_digits(labs.c.region, digits).label("group_key")
    query = select(key, func.count()).select_from(labs).where(in_region(labs.c.region, region))
    if digits:
        query = query.group_by(key)
    return {code.ljust(6, "0") if code else "": int(count) for code, count in connection.execute(query)}


def read_counts(
    connection: Connection, region: str, digits: int, question: Question, only: Sequence[str] | None = None
) -> list[Any]:
    """Return rows of counts of a region's laboratories, first delays to upload, then delays to the nation.

    Whole days come from the totals of cities, together with the counts that the totals do not include yet. The hours at
    both ends of the interval, and all counts of districts, come from the counts of laboratories.
    """
    hours = _hours(question)
    days = -(-(hours.start + SHANGHAI_HOURS) // DAY_HOURS), (hours.stop + SHANGHAI_HOURS) // DAY_HOURS
    has_totals = days[0] < days[1] and len(prefix(region)) <= _CITY_DIGITS
    whole = range(*(day * DAY_HOURS - SHANGHAI_HOURS for day in days)) if has_totals else range(hours.stop, hours.stop)
    ends = [some for some in (range(hours.start, whole.start), range(whole.stop, hours.stop)) if some]
    asked = [in_region(labs.c.region, region)]
    if only is not None:
        asked.append(_own_digits(labs.c.region, digits).in_([key[:digits] for key in only]))
    queries: list[Select[Any]] = []
    for table in TOTALS:
        if has_totals:
            queries.append(_of_totals(table, region, digits, range(*days), question, only))
            queries.append(_of_new_counts(table, digits, whole, question, asked))
        queries += [_of_laboratories(connection, table, digits, some, question, asked) for some in ends]
    if has_totals:
        hold_totals(connection)
    return [row for query in queries for row in connection.execute(query)]


def _read_labs(connection: Connection, codes: Sequence[str], question: Question) -> list[Any]:
    """Return rows of counts of laboratories, first delays to upload, then delays to the nation."""
    hours = _hours(question)
    found: list[Any] = []
    for table in TOTALS:
        count = table.c
        counted = _Columns(count.lab, _day(table, question), count.delay_class, count.persons, _upload_time(table))
        within = count.report_hour >= hours.start, count.report_hour < hours.stop
        found += connection.execute(_sum(counted).where(count.lab.in_(codes), *within))
    return found


def _of_totals(
    table: Table, region: str, digits: int, days: range, question: Question, only: Sequence[str] | None
) -> Select[Any]:
    """Return the query for the totals of whole days."""
    totals = TOTALS[table]
    total = totals.c
    key, day = _own_digits(total.city, digits), total.report_day if question.period else literal(0)
    if only is not None and digits == _CITY_DIGITS and len(days) <= _DAYS_LISTED:
        # With a list of days, the databases use the index to find the rows of a few cities.
        within: list[ColumnElement[bool]] = [total.report_day.in_(days), total.city.in_(only)]
    else:
        within = [total.report_day >= days.start, total.report_day < days.stop, in_region(total.city, region)]
        if only is not None:
            within.append(key.in_([one[:digits] for one in only]))
    return _sum(_Columns(key, day, total.delay_class, total.persons, _upload_time(totals))).where(*within)


def _of_new_counts(
    table: Table, digits: int, hours: range, question: Question, asked: Sequence[ColumnElement[bool]]
) -> Select[Any]:
    """Return the query for the persons of these hours that the totals do not include."""
    count = table.c
    columns = _Columns(
        count.lab, _day(table, question), count.delay_class, count.persons - count.counted, _upload_time(table)
    )
    # OFFSET makes the databases read these rows first, by their index. Otherwise they would read all counts of each
    # laboratory.
    new = (
        select(*columns.labelled())
        .where(is_new(table), count.report_hour >= hours.start, count.report_hour < hours.stop)
        .offset(0)
        .subquery()
    )
    return _by_region(new, new.join(labs, labs.c.uscc == new.c.group_key), digits).where(*asked)


def _of_laboratories(
    connection: Connection,
    table: Table,
    digits: int,
    hours: range,
    question: Question,
    asked: Sequence[ColumnElement[bool]],
) -> Select[Any]:
    """Return the query for the counts of these hours, laboratory by laboratory."""
    count = table.c
    columns = _Columns(count.lab, _day(table, question), count.delay_class, count.persons, _upload_time(table))
    of_lab = _sum(columns) if connection.dialect.name == "postgresql" else select(*columns.labelled())
    of_lab = of_lab.where(count.report_hour >= hours.start, count.report_hour < hours.stop)
    if connection.dialect.name == "sqlite" or is_distributed(connection):
        # Without this list of laboratories, SQLite would read the counts of all hours.
        found: FromClause = of_lab.where(count.lab.in_(select(labs.c.uscc).where(*asked))).subquery()
        return _by_region(found, labs.join(found, labs.c.uscc == found.c.group_key), digits).where(*asked)
    # Without LATERAL, PostgreSQL would read the counts of all hours.
    found = of_lab.where(count.lab == labs.c.uscc).correlate(labs).lateral()
    return _by_region(found, labs.join(found, true()), digits).where(*asked)


class _Columns(NamedTuple):
    """The columns of rows to sum up. Rows with the same key, day and class are summed up."""

    key: ColumnElement[Any]
    day: ColumnElement[Any]
    class_: ColumnElement[Any]
    persons: ColumnElement[Any]
    upload_time: ColumnElement[Any]

    def labelled(self) -> list[ColumnElement[Any]]:
        names = ("group_key", "day", "delay_class", "persons", "upload_time")
        return [column.label(name) for name, column in zip(names, self, strict=True)]


def _sum(columns: _Columns) -> Select[Any]:
    """Return the query for the sum of persons and the last upload time, by key, day and class."""
    key, day, class_, persons, upload_time = columns
    summed = _Columns(key, day, class_, func.sum(persons), func.max(upload_time))
    # Databases do not accept constants in GROUP BY.
    varying = [one for one in (key, day, class_) if not isinstance(one, BindParameter)]
    return select(*summed.labelled()).group_by(*varying)


def _by_region(found: FromClause, source: FromClause, digits: int) -> Select[Any]:
    """Return the query that sums up rows of laboratories by region."""
    one = found.c
    key = _own_digits(labs.c.region, digits)
    return _sum(_Columns(key, one.day, one.delay_class, one.persons, one.upload_time)).select_from(source)


def _own_digits(region: ColumnElement[str], digits: int) -> ColumnElement[str]:
    """Return the first digits of a region's code; an empty text for 0 digits."""
    return func.substr(region, 1, digits) if digits else literal("")


def _hours(question: Question) -> range:
    """Return the hours that overlap the interval and that retention has kept."""
    start = max(question.start, question.kept_from or question.start)
    return range(start // HOUR, -(-question.end // HOUR))


def _day(table: Table, question: Question) -> ColumnElement[Any]:
    """Return the day of a count in Asia/Shanghai; 0 if the interval is not divided."""
    return (table.c.report_hour + SHANGHAI_HOURS) // DAY_HOURS if question.period else literal(0)


def _upload_time(table: Table) -> ColumnElement[Any]:
    """Return the time of the last upload. The time -1 marks a row of delays to the nation."""
    return table.c.last_upload_time if "last_upload_time" in table.c else literal(-1)


def _fold(rows: Iterable[Any], question: Question) -> Counted:
    """Return counts by key and part from rows by key and day.

    The upload time -1 marks a row of delays to the nation.
    """
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
