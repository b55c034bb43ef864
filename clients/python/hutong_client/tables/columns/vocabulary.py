"""Columns of files, with their English and Chinese names.

Most English names come from a municipal interface of 2022 for laboratories. This project has added a few.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

_DECORATION = re.compile(
    r"[\s*＊:：\u200b-\u200f\ufeff]+|[（(].*?[）)]|[\[［【〔].*?[\]］】〕]|[/／](?:人|人份|份|例|管)$"
)
IGNORED = "-"
"""Stands for no column. It is also put before a title that is to be ignored, so that the title names no column."""


@dataclass(frozen=True)
class Vocabulary:
    """The columns of one kind of file.

    Attributes:
        aliases: column → its other names, beginning with the usual Chinese one.
        required: the columns without which no row of the file can be used.
        fallbacks: column → titles that name it only if no title of `aliases` does, the most exact first.
        expected: columns that nearly every file needs. If a required column is missing, the error also names the
            missing expected columns.
        renamed: title → column, for titles of one source system. These titles come before all other names. A title
            whose column is IGNORED names no column.
    """

    aliases: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...]
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expected: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    def rename(self, titles: Sequence[str]) -> Sequence[str]:
        """Return the titles of a header.

        A title in `renamed` is replaced by its column's name, which is a title too.
        """
        if not self.renamed:
            return titles
        columns = [self._renamed.get(plain_title(title)) for title in titles]
        return [
            title if column is None else column or f"{IGNORED}{title}"
            for title, column in zip(titles, columns, strict=True)
        ]

    def find(self, title: str) -> str | None:
        """Return the column that a title of the header names; None if the title is unknown."""
        plain = plain_title(title)
        if plain in self._renamed:
            return self._renamed[plain] or None
        return self._by_name.get(plain) or self._by_fallback.get(plain)

    def is_fallback(self, title: str) -> bool:
        """Check whether a title is a fallback: it names its column only if no title of `aliases` does."""
        return plain_title(title) not in self._by_name

    def rank(self, title: str) -> int:
        """Return how exactly a known title names its column: 0 is the most exact."""
        column, plain = self.find(title) or "", plain_title(title)
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
        return {plain_title(title): column.removeprefix(IGNORED) for title, column in self.renamed.items()}

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
"""Name of a cell made from unknown columns: it holds those of their texts that name a test. No title has this name."""
OF_REJECTED = "can_be_retried"
"""The column that marks a file of rejected rows. In such a file every row fills this column. No other file has this
column."""

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


def plain_title(title: str) -> str:
    """Return a title in lower case, without spaces, stars, colons, a unit, and what stands in brackets."""
    return _DECORATION.sub("", title).lower()
