"""Columns of files, with their English and Chinese names, and the search for the header.

The English names are those of a municipal interface of 2022 for laboratories, and a few of this project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from hutong_client.tables.rows import NotATable

_DECORATION = re.compile(r"[\s*＊:：]+|[（(].*?[）)]")


@dataclass(frozen=True)
class Vocabulary:
    """The columns of one kind of file.

    Attributes:
        aliases: column → its other names, beginning with the usual Chinese one.
        required: the columns without which no row of the file can be used.
    """

    aliases: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...]

    def find(self, title: str) -> str | None:
        """Return the column that a title of the header names; None if the title is unknown."""
        return self._by_name.get(_DECORATION.sub("", title).lower())

    def count_known(self, titles: Iterable[str]) -> int:
        """Count the titles that name a column."""
        return sum(self.find(title) is not None for title in titles)

    def label(self, column: str) -> str:
        """Return a column's name in both languages."""
        return " ".join((column, *(f"({alias})" for alias in self.aliases[column][:1])))

    @cached_property
    def _by_name(self) -> Mapping[str, str]:
        return {alias: column for column, aliases in self.aliases.items() for alias in (column, *aliases)}


ALIASES: Mapping[str, tuple[str, ...]] = {
    "name": ("姓名", "受检者", "受检者姓名", "受检人", "受检人姓名", "患者姓名"),
    "card_no": (
        "证件号码",
        "证件号",
        "证件编号",
        "身份证号",
        "身份证号码",
        "身份证",
        "id_number",
        "document_number",
        "number",
    ),
    "card_type": ("证件类型", "证件类别", "id_type", "document_type", "type"),
    "issuing_country": ("签发国", "签发国家", "国籍", "country", "nationality"),
    "sample_orgname": ("采样机构", "采样点", "采样单位", "采样地点", "采样机构名称", "sample_site"),
    "test_orgname": ("检测机构", "检测单位", "检测机构名称"),
    "sample_type": ("标本类型", "样本类型", "采样类型", "采样方式", "specimen"),
    "check_project": ("检测项目", "检验项目", "检测方法", "method"),
    "sample_date": ("采样时间", "采样日期", "采集时间", "sample_time", "sampling_time"),
    "collect_date": ("收样时间", "接收时间", "收样日期", "接样时间", "receive_date", "receive_time"),
    "test_date": ("检测时间", "检验时间", "检测日期", "test_time"),
    "report_date": ("报告时间", "出具报告时间", "报告出具时间", "报告日期", "report_time"),
    "nat_result": ("检测结果", "检验结果", "核酸检测结果", "核酸结果", "结果", "outcome", "result"),
    "report_no": ("报告编号", "报告号", "报告单号", "report_number"),
    "tube_code": ("管码", "试管码", "试管编号", "采样管编号", "管号", "混管编号", "样本编号", "条码号"),
    "pool_size": ("混检人数", "混采比例", "混检比例", "混样比例", "pool"),
    "sample_region": ("采样地区", "采样地区划代码", "采样行政区划", "行政区划代码", "行政区划", "region"),
}

RESULTS = Vocabulary(ALIASES, required=("card_no", "sample_date", "nat_result", "report_no"))
"""Columns of a laboratory's results."""


HEADER_ROWS = 10
"""Number of filled rows in which the header is searched. A title or an author may be above it."""
_CARD = re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")


def find_header(
    rows: Iterable[tuple[int, Sequence[str]]], vocabulary: Vocabulary
) -> tuple[int, Sequence[str], dict[int, str]]:
    """Find the header: the one of the first rows that names the most columns.

    Returns:
        The row's number, its titles, and its columns as of `read_header`.

    Raises:
        NotATable: the header is missing or faulty, or a row above it holds a person's data.
    """
    filled = list(islice(((number, titles) for number, titles in rows if _count_filled(titles)), HEADER_ROWS))
    if not filled:
        raise NotATable("the file, or the first sheet of the workbook, is empty")
    likeliest, header = max(filled, key=lambda row: vocabulary.count_known(row[1]))
    for number, titles in filled:
        if number == likeliest:
            break
        if sum(vocabulary.find(title) in vocabulary.required for title in titles) > 1:
            return number, titles, read_header(titles, vocabulary)
        if any(map(_CARD.search, titles)) or _count_filled(titles) >= max(_count_filled(header), 3):
            raise NotATable(f"row {number} looks like a person's row above the header; move the header above it")
    return likeliest, header, read_header(header, vocabulary)


def _count_filled(titles: Sequence[str]) -> int:
    return sum(bool(title.strip()) for title in titles)


def read_header(titles: Sequence[str], vocabulary: Vocabulary) -> dict[int, str]:
    """Return the columns of a header by their positions.

    Raises:
        NotATable: a required column is missing, or a column occurs twice.
    """
    found: dict[int, str] = {}
    for position, title in enumerate(titles):
        column = vocabulary.find(title)
        if column is None:
            continue
        if column in found.values():
            raise NotATable(f"the header names the column {vocabulary.label(column)} twice; remove one of them")
        found[position] = column
    if not found:
        raise NotATable(
            "the first rows contain no known column name; one of them must name the columns, such as "
            + ", ".join(map(vocabulary.label, vocabulary.required))
        )
    missing = [vocabulary.label(column) for column in vocabulary.required if column not in found.values()]
    if missing:
        raise NotATable(f"the header lacks {', '.join(missing)}; add the column or give it that name")
    return found
