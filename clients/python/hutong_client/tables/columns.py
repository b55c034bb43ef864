"""Columns of files, with their English and Chinese names, and the search for the header.

The English names are those of a municipal interface of 2022 for laboratories, and a few of this project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from hutong_texts import tr

from hutong_client.tables.rows import NotATable

_DECORATION = re.compile(r"[\s*＊:：\u200b-\u200f\ufeff]+|[（(].*?[）)]")
TIME_OF_DAY = ":time_of_day"
"""Suffix of the column that holds the time of day, if a file gives date and time of day in columns of their own."""
_BARE_TIMES_OF_DAY = frozenset({"时间", "时刻"})
_VAGUE = _BARE_TIMES_OF_DAY | {"日期", "time", "date", "datetime"}
"""Titles of a time that do not say which event the time belongs to."""
_DATE_TITLE = re.compile(r"日期$|date$")
_TIME_TITLE = re.compile(r"时间$|时刻$|time$")
IGNORED = "-"
"""Stands for no column. It is also put before a title that is ignored, so that the title names nothing."""


@dataclass(frozen=True)
class Vocabulary:
    """The columns of one kind of file.

    Attributes:
        aliases: column → its other names, beginning with the usual Chinese one.
        required: the columns without which no row of the file can be used.
        fallbacks: column → titles that name it only if no title of `aliases` does, the most exact first.
        expected: columns that nearly every file needs. They are named together with missing required ones.
        renamed: title → column, for titles of one source system. They come before all other names. A title whose column
            is IGNORED names none.
    """

    aliases: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...]
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expected: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    def rename(self, titles: Sequence[str]) -> Sequence[str]:
        """Return the titles of a header with those of `renamed` replaced by their columns, which are titles too."""
        if not self.renamed:
            return titles
        columns = [self._renamed.get(_plain(title)) for title in titles]
        return [
            title if column is None else column or f"{IGNORED}{title}"
            for title, column in zip(titles, columns, strict=True)
        ]

    def find(self, title: str) -> str | None:
        """Return the column that a title of the header names; None if the title is unknown."""
        plain = _plain(title)
        if plain in self._renamed:
            return self._renamed[plain] or None
        return self._by_name.get(plain) or self._by_fallback.get(plain)

    def is_fallback(self, title: str) -> bool:
        """Check whether a title names its column only if no other title does."""
        return _plain(title) not in self._by_name

    def rank(self, title: str) -> int:
        """Return how exactly a known title names its column. The most exact one is 0."""
        column, plain = self.find(title) or "", _plain(title)
        if plain in self._renamed:
            return 0
        names = (*self.aliases[column], *self.fallbacks.get(column, ()), column)
        return names.index(plain)

    def count_known(self, titles: Iterable[str]) -> int:
        """Count the titles that name a column."""
        return sum(self.find(title) is not None for title in titles)

    def label(self, column: str) -> str:
        """Return a column's name in both languages."""
        return " ".join((column, *(f"({alias})" for alias in self.aliases[column][:1])))

    @cached_property
    def _renamed(self) -> Mapping[str, str]:
        return {_plain(title): column.removeprefix(IGNORED) for title, column in self.renamed.items()}

    @cached_property
    def _by_name(self) -> Mapping[str, str]:
        return {alias: column for column, aliases in self.aliases.items() for alias in (column, *aliases)}

    @cached_property
    def _by_fallback(self) -> Mapping[str, str]:
        return {title: column for column, titles in self.fallbacks.items() for title in titles}


ALIASES: Mapping[str, tuple[str, ...]] = {
    "name": ("姓名", "受检者", "受检者姓名", "受检人", "受检人姓名", "患者姓名", "人员姓名", "被采样人姓名"),
    "card_no": (
        "证件号码",
        "证件号",
        "证件编号",
        "身份证号",
        "身份证号码",
        "身份证",
        "身份证件号码",
        "有效证件号码",
        "id_number",
        "document_number",
        "number",
    ),
    "card_type": ("证件类型", "证件类别", "证件种类", "id_type", "document_type", "type"),
    "issuing_country": ("签发国", "签发国家", "国籍", "国家/地区", "country", "nationality"),
    "sample_orgname": ("采样机构", "采样点", "采样单位", "采样地点", "采样机构名称", "采样点名称", "sample_site"),
    "test_orgname": ("检测机构", "检测单位", "检测机构名称"),
    "sample_type": ("标本类型", "样本类型", "标本种类", "样本种类", "采样类型", "采样方式", "specimen"),
    "check_project": ("检测项目", "检验项目", "检测项目名称", "检验项目名称", "项目名称", "item"),
    "check_method": ("检测方法", "检验方法", "method"),
    "sample_date": ("采样时间", "采样日期", "采集时间", "采集日期", "采样时刻", "sample_time", "sampling_time"),
    "collect_date": ("收样时间", "接收时间", "收样日期", "接收日期", "接样时间", "receive_date", "receive_time"),
    "test_date": ("检测时间", "检验时间", "检测日期", "检验日期", "test_time"),
    "report_date": ("报告时间", "出具报告时间", "报告出具时间", "报告日期", "report_time"),
    "nat_result": (
        "检测结果",
        "检验结果",
        "核酸检测结果",
        "核酸结果",
        "结果判定",
        "结果",
        "outcome",
        "result",
    ),
    "report_no": ("报告编号", "报告号", "报告单号", "报告单编号", "report_number"),
    "tube_code": (
        "管码",
        "试管码",
        "试管编号",
        "试管号",
        "采样管编号",
        "采样管号",
        "采样管码",
        "管号",
        "混管编号",
        "混采管号",
        "样本编号",
        "标本编号",
        "样本条码",
        "条码号",
        "条形码",
    ),
    "pool_size": ("混检人数", "混采人数", "混采比例", "混检比例", "混样比例", "混检类型", "混采类型", "pool"),
    "sample_region": ("采样地区", "采样地区划代码", "采样行政区划", "行政区划代码", "行政区划", "region"),
}

REMARK = ":remark"
"""Name of the cell that holds the texts of unknown columns that name a test. No title names it."""
OF_REJECTED = "can_be_retried"
"""The column that marks a file of rejected rows. Every row of such a file has it filled, and no other file has it."""

RESULTS = Vocabulary(
    {**ALIASES, OF_REJECTED: ()},
    required=("card_no", "sample_date", "nat_result", "report_no"),
    fallbacks={
        "report_date": (
            "报告发布时间",
            "报告发布日期",
            "结果报告时间",
            "结果发布时间",
            "结果上报时间",
            "出报告时间",
            "出结果时间",
            "结果时间",
            "发布时间",
            "签发时间",
            "报告签发时间",
            "审核时间",
            "审核日期",
            "报告审核时间",
        ),
    },
    expected=("report_date",),
)
"""Columns of a laboratory's results."""


HEADER_ROWS = 10
"""Number of filled rows in which the header is searched. A title or an author may be above it."""
_CARD = re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")


def find_header(
    rows: Iterable[tuple[int, Sequence[str]]], vocabulary: Vocabulary
) -> tuple[int, Sequence[str], dict[int, str]]:
    """Find the header. It is the row, among the first rows, that names the most columns.

    Returns:
        The row's number, its titles, and its columns as `read_header` returns them.

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
                label=", ".join(map(vocabulary.label, vocabulary.required)),
            )
        )
    missing = [vocabulary.label(column) for column in vocabulary.required if column not in found.values()]
    if missing:
        missing += [vocabulary.label(column) for column in vocabulary.expected if column not in found.values()]
        raise NotATable(
            tr(
                "the header lacks {missing}; add the column or give it that name{titles}",
                missing=", ".join(missing),
                titles=list_unknown(titles, found),
            )
        )
    return found


def list_unknown(titles: Sequence[str], known: Iterable[int]) -> str:
    """Return a remark that lists the titles without a known column; empty if there are none."""
    unknown = [f"“{title.strip()}”" for at, title in enumerate(titles) if title.strip() and at not in {*known}]
    vague = any(_plain(titles[at]) in _VAGUE for at in range(len(titles)) if at not in {*known})
    hint = tr("; a time has to say of what it is, as 采样时间 or 报告时间") if vague else ""
    return tr(" (not understood: {unknown}{hint})", unknown=", ".join(unknown[:20]), hint=hint) if unknown else ""


def name_columns(titles: Sequence[str], vocabulary: Vocabulary) -> dict[int, str]:
    """Return the known columns of titles by their positions.

    One time may have two titles, one of the date and one of the time of day. The time of day gets the suffix
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
        # Only the most exact fallback counts. A date counts with its time of day, and a time of day with its date.
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
        bare = behind < len(titles) and _plain(titles[behind]) in _BARE_TIMES_OF_DAY
        if bare and _DATE_TITLE.search(_plain(titles[position])) and of_day not in found.values():
            found[behind] = of_day
    return dict(sorted(found.items()))


def _refuse_persons_side_by_side(titles: Sequence[str], by_column: Mapping[str, Sequence[int]]) -> None:
    """Raise NotATable if the card and another column of a person occur twice, with the same title each time."""
    twice = [
        column
        for column in ("card_no", "name", "nat_result", "report_no")
        if len(positions := by_column.get(column, ())) > len({_plain(titles[at]) for at in positions})
    ]
    if len(twice) > 1 and twice[0] == "card_no":
        raise NotATable(
            tr(
                "the header names {value} several times, so each row seems to hold several persons; "
                "give each person a row of its own",
                value=" and ".join(f"“{titles[by_column[column][0]].strip()}”" for column in twice),
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
    dates = [at for at in positions if _DATE_TITLE.search(_plain(titles[at]))]
    times = [at for at in positions if _TIME_TITLE.search(_plain(titles[at]))]
    return (dates[0], times[0]) if len(positions) == 2 and len(dates) == len(times) == 1 else None


def _describe_twice(titles: Sequence[str], positions: Sequence[int], vocabulary: Vocabulary) -> str:
    places = [tr("“{strip}” in column {at}", strip=titles[at].strip(), at=_letters(at)) for at in positions]
    best = min(positions, key=lambda at: vocabulary.rank(titles[at]))
    column = vocabulary.find(titles[best]) or ""
    same = len({_plain(titles[at]) for at in positions}) == 1
    keep = (
        tr("the one whose cells are right")
        if same
        else tr("“{strip}” in column {best}", strip=titles[best].strip(), best=_letters(best))
    )
    return tr(
        "the header names the column {column} twice, as {places}; keep {keep}, and delete "
        "the other or give it another title",
        column=vocabulary.label(column),
        places=" and ".join(places),
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
    return _TIME_TITLE.sub("", _DATE_TITLE.sub("", _plain(title)))


def _plain(title: str) -> str:
    return _DECORATION.sub("", title).lower()
