"""Files with times in the forms of laboratories and of spreadsheet programs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from tests.support.client.laboratory_formats import NOON, SIX, TITLES, card, csv, person, xls
from tests.support.client.laboratory_kind import Kind
from tests.support.client.laboratory_words import ONE

Make = Callable[[Path], Path]


def formatted(rows: Sequence[Sequence[Any]], formats: Mapping[int, str] = {}, *, of_1904: bool = False) -> Make:
    """Return a maker of an .xlsx with a number format for the cells of some columns."""

    def make(folder: Path) -> Path:
        book = Workbook()
        if of_1904:
            book.epoch = CALENDAR_MAC_1904
        sheet = book.worksheets[0]
        for row in rows:
            sheet.append([None if cell == "" else cell for cell in row])
        for at, code in formats.items():
            for row in sheet.iter_rows(min_row=2, min_col=at + 1, max_col=at + 1):
                row[0].number_format = code
        book.save(folder / "day.xlsx")
        return folder / "day.xlsx"

    return make


def at(time: str) -> list[Sequence[object]]:
    """Return one person who was sampled at a time, and whose report came at noon."""
    return [TITLES, person(1, sample_date=time)]


TIMES = [
    *(
        Kind(f"time {time}", csv(at(time)), ONE, sampled="2022-08-08T22:05:00Z")
        for time in (
            "2022/8/9 6:05",
            "2022.8.9 6:05",
            "2022年8月9日 6时05分",
            "2022年8月9日6点05分",
            "2022年08月09日06:05",
            "2022-08-09T06:05:00+0800",
            "2022-08-08T22:05:00.000Z",
            "2022-08-09 06:05:00 +08:00",
            "2022-08-09 06:05 北京时间",
            "２０２２－０８－０９　０６：０５",
            "202208090605",
            "20220809060500",
            "20220809 0605",
            "20220809 06:05:00",
            "2022-08-09 上午6:05",
            "2022/8/9 6:05:00 AM",
            "2022年8月9日上午6时05分",
            "2022年8月9日 星期二 06:05",
            "2022-08-09(周二) 06:05",
        )
    ),
    Kind("time of the afternoon", csv(at("2022-08-09 下午2:05")), ONE, sampled="2022-08-09T06:05:00Z"),
    Kind("time of the afternoon in English", csv(at("2022/8/9 2:05:00 PM")), ONE, sampled="2022-08-09T06:05:00Z"),
    Kind("twelve in the morning", csv(at("2022-08-09 上午12:05")), ONE, sampled="2022-08-08T16:05:00Z"),
    Kind("twelve in the afternoon", csv(at("2022-08-09 下午12:05")), ONE, sampled="2022-08-09T04:05:00Z"),
    *(
        Kind(f"no time {time}", csv(at(time)), bad={2: "sample_date"})
        for time in (
            "2022-08-09",
            "20220809",
            "44782.25",
            "2.02208E+13",
            "06:05",
            "########",
            "8/9/2022 6:05",
            "22-08-09 06:05",
            "2022-08-09 上午14:05",
            "2022-08-09 晚上12:05",
            "2022-08-09 24:00",
            "2022-02-30 06:05",
            "1900-01-00 00:00:00",
            "1660006338000",
            "2022-08-09 06:05 CST",
        )
    ),
    Kind("times as serial numbers", formatted([TITLES, person(1, sample_date=44782.25)]), bad={2: "sample_date"}),
    Kind(
        "times since 1904",
        formatted([TITLES, person(1, sample_date=SIX, report_date=NOON)], of_1904=True),
        ONE,
        sampled="2022-08-08T22:00:00Z",
    ),
    Kind("a day as midnight", formatted([TITLES, person(1, sample_date=dt.date(2022, 8, 9))]), bad={2: "sample_date"}),
    Kind(
        "a day in the format of Chinese programs",
        formatted([TITLES, person(1, sample_date=SIX.replace(hour=0))], {2: 'yyyy"年"m"月"d"日"'}),
        bad={2: "sample_date"},
    ),
    Kind(
        "midnight",
        formatted([TITLES, person(1, sample_date=SIX.replace(hour=0))], {2: "yyyy/m/d h:mm"}),
        ONE,
        sampled="2022-08-08T16:00:00Z",
    ),
    Kind(
        "a day and a time of day in formats of their own",
        formatted(
            [
                ["身份证号", "采样日期", "采样时间", "检测结果", "报告时间", "管号", "报告编号"],
                [card(1), dt.date(2022, 8, 9), dt.time(6), "阴性", NOON, "T0001", "R0001"],
            ]
        ),
        ONE,
        sampled="2022-08-08T22:00:00Z",
    ),
    Kind("a day in .xls", xls(("结果", [TITLES, person(1, sample_date=SIX.replace(hour=0))])), bad={2: "sample_date"}),
]
