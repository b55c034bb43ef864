"""Finds the header of a file, and the columns that its titles name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from hutong_texts import list_words, tr

from hutong_client.tables.columns.vocabulary import Vocabulary, plain_title
from hutong_client.tables.rows import NotATable

TIME_OF_DAY = ":time_of_day"
"""Suffix of the column that holds the time of day, if a file gives date and time of day in columns of their own."""
_BARE_TIMES_OF_DAY = frozenset({"时间", "时刻"})
_VAGUE = _BARE_TIMES_OF_DAY | {"日期", "time", "date", "datetime"}
"""Titles of a time that do not say which event the time belongs to."""
_DATE_TITLE = re.compile(r"日期$|date$")
_TIME_TITLE = re.compile(r"时间$|时刻$|time$")
HEADER_ROWS = 10
"""Number of filled rows in which the header is searched. A title or an author may be above it."""
_CARD = re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")


def find_header(
    rows: Iterable[tuple[int, Sequence[str]]], vocabulary: Vocabulary
) -> tuple[int, Sequence[str], dict[int, str]]:
    """Find the header. Of the first rows, the header is the one that names the most columns.

    Returns:
        The header's row number, its titles, and its columns as `read_header` returns them.

    Raises:
        NotATable: the header is missing or faulty, or a row above it holds a person's data.
    """
    renamed = ((number, vocabulary.rename(titles)) for number, titles in rows if _count_filled(titles))
    filled = list(islice(renamed, HEADER_ROWS))
    if not filled:
        raise NotATable(tr("the file, or the first sheet of the workbook, is empty"))
    likeliest, header = max(filled, key=lambda row: vocabulary.count_known(row[1]))
    for number, titles in filled:
        if number == likeliest:
            break
        if sum(vocabulary.find(title) in vocabulary.required for title in titles) > 1:
            return number, titles, read_header(titles, vocabulary)
        if has_card(titles) or _count_filled(titles) >= max(_count_filled(header), 3):
            raise NotATable(
                tr("row {number} looks like a person's row above the header; move the header above it", number=number)
            )
    if has_card(header):
        raise NotATable(
            tr(
                "row {number} looks like a person's row, and no row above it names the columns; add one",
                number=likeliest,
            )
        )
    return likeliest, header, read_header(header, vocabulary)


def has_card(texts: Iterable[str]) -> bool:
    """Check whether a text contains a number with the form of a resident identity card number."""
    return any(map(_CARD.search, texts))


def _count_filled(titles: Sequence[str]) -> int:
    return sum(bool(title.strip()) for title in titles)


def read_header(titles: Sequence[str], vocabulary: Vocabulary) -> dict[int, str]:
    """Return the columns of a header by their positions.

    Raises:
        NotATable: a required column is missing, or a column occurs twice.
    """
    found = name_columns(titles, vocabulary)
    if not found:
        raise NotATable(
            tr(
                "the first rows contain no known column name; one of them must name the columns, such as {label}",
                label=list_words(map(vocabulary.label, vocabulary.required)),
            )
        )
    missing = [vocabulary.label(column) for column in vocabulary.required if column not in found.values()]
    if missing:
        missing += [vocabulary.label(column) for column in vocabulary.expected if column not in found.values()]
        raise NotATable(
            tr(
                "the header lacks {missing}; add the column or give it that name{titles}",
                missing=list_words(missing),
                titles=list_unknown(titles, found),
            )
        )
    return found


def list_unknown(titles: Sequence[str], known: Iterable[int]) -> str:
    """Return a remark that lists the titles without a known column; empty if there are none."""
    unknown = [f"“{title.strip()}”" for at, title in enumerate(titles) if title.strip() and at not in {*known}]
    vague = any(plain_title(titles[at]) in _VAGUE for at in range(len(titles)) if at not in {*known})
    hint = tr("; a time has to say of what it is, as 采样时间 or 报告时间") if vague else ""
    return tr(" (not understood: {unknown}{hint})", unknown=list_words(unknown[:20]), hint=hint) if unknown else ""


def name_columns(titles: Sequence[str], vocabulary: Vocabulary) -> dict[int, str]:
    """Return the known columns of a header, by the positions of their titles.

    A time may be split into two columns: its date and its time of day. The name of the second column then ends in
    `TIME_OF_DAY`.

    Raises:
        NotATable: a column occurs twice.
    """
    by_column: dict[str, list[int]] = {}
    for position, title in enumerate(titles):
        column = vocabulary.find(title)
        if column is not None:
            by_column.setdefault(column, []).append(position)
    found: dict[int, str] = {}
    _refuse_persons_side_by_side(titles, by_column)
    for column, positions in by_column.items():
        exact = [at for at in positions if not vocabulary.is_fallback(titles[at])]
        # If only fallbacks name the column, only the most exact one counts. A date and its time of day count together.
        named = exact or _best_fallback(titles, positions, vocabulary)
        if len(named) > 1 and (halves := _split_time(titles, named)):
            found |= {halves[0]: column, halves[1]: column + TIME_OF_DAY}
        elif len(named) > 1:
            raise NotATable(_describe_twice(titles, named, vocabulary))
        else:
            found[named[0]] = column
    for position, column in [*found.items()]:
        # "时间" behind "采样日期" is the time of day of that date.
        behind, of_day = position + 1, column + TIME_OF_DAY
        bare = behind < len(titles) and plain_title(titles[behind]) in _BARE_TIMES_OF_DAY
        if bare and _DATE_TITLE.search(plain_title(titles[position])) and of_day not in found.values():
            found[behind] = of_day
    return dict(sorted(found.items()))


def _refuse_persons_side_by_side(titles: Sequence[str], by_column: Mapping[str, Sequence[int]]) -> None:
    """Raise NotATable if the card and another column of a person occur twice, with the same title each time."""
    twice = [
        column
        for column in ("card_no", "name", "nat_result", "report_no")
        if len(positions := by_column.get(column, ())) > len({plain_title(titles[at]) for at in positions})
    ]
    if len(twice) > 1 and twice[0] == "card_no":
        raise NotATable(
            tr(
                "the header names {value} several times, so each row seems to hold several persons; "
                "give each person a row of its own",
                value=tr(" and ").join(f"“{titles[by_column[column][0]].strip()}”" for column in twice),
            )
        )


def title_of_result(titles: Sequence[str], columns: Mapping[int, str]) -> str:
    """Return the title of the column of results; empty if there is none."""
    return next((titles[at] for at, column in columns.items() if column == "nat_result"), "")


def _best_fallback(titles: Sequence[str], positions: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    best = min(positions, key=lambda at: vocabulary.rank(titles[at]))
    stem = _stem(titles[best])
    return [at for at in positions if at == best or (_stem(titles[at]) == stem and titles[at] != titles[best])]


def _split_time(titles: Sequence[str], positions: Sequence[int]) -> tuple[int, int] | None:
    """Return the positions of the date and of the time of day; None if the titles are not these two."""
    dates = [at for at in positions if _DATE_TITLE.search(plain_title(titles[at]))]
    times = [at for at in positions if _TIME_TITLE.search(plain_title(titles[at]))]
    return (dates[0], times[0]) if len(positions) == 2 and len(dates) == len(times) == 1 else None


def _describe_twice(titles: Sequence[str], positions: Sequence[int], vocabulary: Vocabulary) -> str:
    places = [tr("“{strip}” in column {at}", strip=titles[at].strip(), at=_letters(at)) for at in positions]
    best = min(positions, key=lambda at: vocabulary.rank(titles[at]))
    column = vocabulary.find(titles[best]) or ""
    same = len({plain_title(titles[at]) for at in positions}) == 1
    keep = (
        tr("the one whose cells are right")
        if same
        else tr("“{strip}” in column {best}", strip=titles[best].strip(), best=_letters(best))
    )
    return tr(
        "the header names the column {column} twice, as {places}; keep {keep}, and delete "
        "the other or give it another title",
        column=vocabulary.label(column),
        places=tr(" and ").join(places),
        keep=keep,
    )


def _letters(position: int) -> str:
    """Return the letters by which spreadsheet programs show a column, "A" for 0."""
    letters, rest = "", position + 1
    while rest:
        rest, digit = divmod(rest - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters


def _stem(title: str) -> str:
    return _TIME_TITLE.sub("", _DATE_TITLE.sub("", plain_title(title)))
