"""Odd files: marks of other programs, placeholders, numbers that became quantities, and files that are no table."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from tests.support.client.laboratory_formats import ENGLISH, TITLES, as_text, card, csv, person, xlsx
from tests.support.client.laboratory_kind import Kind
from tests.support.client.laboratory_programs import raw
from tests.support.client.laboratory_words import ONE

TWO = {**ONE, "T0002": 1}
PEOPLE = [TITLES, person(1), person(2)]
QUANTITIES = ("1.1E+17", "1.1E17", "2.2e17", '"1,1E+17"', "220809001.0")
SIGNED = (["（盖章）"], ["日期：2022-08-09"], ["打印时间", "2022-08-09 12:33:00"], ["检测单位：示例检验所"])
ENDS = (
    ["———以下空白———"],
    ["检验员：示例    审核：示例    日期：2022-08-09"],
    ["检测：示例"],
    ["(本页以下无数据)"],
    ["", "--- 结束 ---"],
    ["EOF"],
    ["*****"],
)
LIKE_FOOTERS = ("本上真奈美", "Page Larry", "End-User Ann", "Total Wang", "说明", "共 1", "*****")
SPACED_QUOTES = ", ".join(f'"{cell}"' for cell in person(1))
STRICT = {
    b"http://schemas.openxmlformats.org/spreadsheetml/2006/main": b"http://purl.oclc.org/ooxml/spreadsheetml/main",
    b"http://schemas.openxmlformats.org/officeDocument/2006/relationships": (
        b"http://purl.oclc.org/ooxml/officeDocument/relationships"
    ),
}


def alone(column: int, *cells: Any) -> list[list[Any]]:
    """Return a table of persons that differ in one column."""
    rows = [person(number) for number in range(1, len(cells) + 1)]
    for row, cell in zip(rows, cells, strict=True):
        row[column] = cell
    return [TITLES, *rows]


def strict(folder: Path) -> Path:
    """Write a workbook as Excel saves it as "Strict Open XML Spreadsheet"."""
    path = xlsx(("结果", PEOPLE))(folder)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            for old, new in STRICT.items():
                content = content.replace(old, new)  # noqa: PLW2901 - the part is converted step by step
            archive.writestr(name, content)
    return path


def sized(size: str, count: int) -> Kind:
    """Return a kind of one row with a pool size."""
    return Kind(
        f"the pool size {size}",
        csv([TITLES, person(1, "S1", size)]),
        {"S1": 1} if count else {},
        {} if count else {2: "pool_size"},
    )


ODDITIES = [
    *(
        Kind(f"{what} that became quantities", csv(alone(at, *QUANTITIES)), bad=dict.fromkeys(range(2, 7), column))
        for what, at, column in (("tube codes", 5, "tube_code"), ("report numbers", 7, "report_no"))
    ),
    Kind("a card that became a quantity", csv(alone(1, "2.20502E+17", "2.20502E17")), bad={2: "card_no", 3: "card_no"}),
    *(sized(size, 1) for size in ("1.0", "10.0", "单采单检")),
    *(sized(size, 0) for size in ("0", "-5", "1.5", "1e1")),
    Kind("no values as programs write them", csv(alone(6, "nan", "NULL", "None")), {**TWO, "T0003": 1}),
    Kind("no values as people write them", csv(alone(6, "-", "/", "无")), {**TWO, "T0003": 1}),
    Kind("dashes as tube codes", csv(alone(5, "-", "/", "无")), {"R0001": 1, "R0002": 1, "R0003": 1}),
    Kind("a dash as the result", csv(alone(3, "-")), bad={2: "nat_result"}),
    Kind("signatures", csv([*PEOPLE, *SIGNED]), TWO, dict.fromkeys(range(4, 8), "")),
    Kind("ends of a table", csv([*PEOPLE, *ENDS]), TWO, dict.fromkeys(range(4, 11), "")),
    Kind(
        "people named like footers",
        csv([TITLES, *(person(number, name=name) for number, name in enumerate(LIKE_FOOTERS, 1))]),
        {f"T{number:04}": 1 for number, _ in enumerate(LIKE_FOOTERS, 1)},
    ),
    Kind("a masked card", csv(alone(1, "220502********0010")), bad={2: "card_no"}),
    Kind("a card with spaces", csv(alone(1, f"{card(1)[:6]} {card(1)[6:14]} {card(1)[14:]}")), ONE),
    Kind("quotation marks behind spaces", raw("day.csv", f"{','.join(ENGLISH)}\r\n{SPACED_QUOTES}\r\n".encode()), ONE),
    Kind("the end of a DOS file", raw("day.csv", as_text(PEOPLE).encode() + b"\x1a"), TWO),
    Kind("a JSON array", raw("day.json", b'[\n {"card_no": "x"}]'), refused="JSON over several lines"),
    Kind("JSON over several lines", raw("day.ndjson", b'{\n "card_no": "x"}'), refused="JSON over several lines"),
    Kind("an empty archive", raw("day.xlsx", b"PK\x05\x06" + bytes(18)), refused="is an archive"),
    Kind("a workbook of the strict form", strict, TWO),
    Kind("people on a hidden sheet alone", xlsx(("结果", PEOPLE), ("空", []), hidden=["结果"]), refused="unhide 结果"),
]
