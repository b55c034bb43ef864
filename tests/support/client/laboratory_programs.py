"""Files as the programs of laboratories save them: formats of cells, separators, and files that are damaged."""

from __future__ import annotations

import datetime as dt
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.support.client.laboratory_formats import (
    ENGLISH,
    TITLES,
    as_text,
    card,
    csv,
    members,
    person,
    plus,
    xls,
    xlsx,
)
from tests.support.client.laboratory_kind import Kind
from tests.support.client.laboratory_times import formatted
from tests.support.client.laboratory_words import ONE, said

TWO = {**ONE, "T0002": 1}
PEOPLE = [TITLES, person(1), person(2)]
TEXT = as_text(PEOPLE)
Make = Callable[[Path], Path]


def raw(name: str, content: bytes) -> Make:
    """Return a maker of a file with these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def renamed(make: Make, name: str) -> Make:
    """Return a maker of the same file under another name."""
    return lambda folder: make(folder).rename(folder / name)


def cut(make: Make) -> Make:
    """Return a maker of the first half of a file."""

    def made(folder: Path) -> Path:
        path = make(folder)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        return path

    return made


def with_cut_sheet(make: Make) -> Make:
    """Return a maker of a workbook whose sheet ends in its middle."""

    def made(folder: Path) -> Path:
        path, saved = make(folder), io.BytesIO()
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(saved, "w") as broken:
            for name in archive.namelist():
                part = archive.read(name)
                broken.writestr(name, part[: len(part) // 2] if "sheet1" in name else part)
        path.write_bytes(saved.getvalue())
        return path

    return made


def with_password(folder: Path) -> Path:
    """Write an .xlsx as it is with a password: a compound file with a stream of encrypted data."""
    content = bytearray(xls(("结果", PEOPLE))(folder).read_bytes())
    at, name = content.find("Workbook".encode("utf-16-le")), "EncryptedPackage".encode("utf-16-le")
    content[at : at + 64] = name.ljust(64, b"\0")
    content[at + 64 : at + 66] = struct.pack("<H", len(name) + 2)
    return raw("day.xlsx", bytes(content))(folder)


def old_with_password(folder: Path) -> Path:
    """Write an .xls with the record that begins an encrypted one (FILEPASS) in place of another of its length."""
    content = xls(("结果", PEOPLE))(folder).read_bytes()
    harmless, encrypted = struct.pack("<HH", 0x00E1, 2), struct.pack("<HH", 0x002F, 2)
    assert harmless in content
    return raw("day.xls", content.replace(harmless, encrypted, 1))(folder)


NUMBERS = [
    Kind("zeros by the format", formatted([TITLES, person(1, 7, 1)], {5: "00000000"}), {"00000007": 1}),
    Kind("letters by the format", formatted([TITLES, person(1, 7, 1)], {5: '"R"0000'}), {"R0007": 1}),
    Kind(
        "zeros by the format, of a pool",
        formatted([TITLES, person(1, 7, 2), person(2, 7, 2)], {5: "000000"}),
        {"000007": 2},
    ),
    Kind("a card as a number", formatted([TITLES, person(1, card_no=220502188703030019)]), bad={2: "card_no"}),
    Kind("a card as 2.20502E+17", csv([TITLES, person(1, card_no="2.20502E+17")]), bad={2: "card_no"}),
    Kind("a tube code as 1.1E+17", csv([TITLES, person(1, "1.1E+17", 1)]), bad={2: "tube_code"}),
    Kind("numbers kept as text", csv([TITLES, person(1, '="00000001"', 1)]), {"00000001": 1}),
    Kind(
        "a card in full width",
        csv([TITLES, person(1, card_no="２２０５０２１８８７０３０３００１" + card(1)[-1])]),
        ONE,
    ),
    Kind(
        "formulas without values",
        xlsx(("结果", [TITLES, *(person(n, '="S"&1', 10, "阳性") for n in (1, 2))])),
        refused="formulas whose values are not stored",
    ),
    Kind(
        "a pool's size as a formula without value",
        xlsx(("结果", [TITLES, *(person(n, "S1", "=5+5", "阳性") for n in (1, 2))])),
        refused="formulas whose values are not stored",
    ),
    Kind("a ratio as a time of day", formatted([TITLES, *members("S1", dt.time(10, 1), 3)]), {"S1": 3}),
]
SAVED = [
    Kind("UTF-8 with a mark", csv(PEOPLE, "utf-8-sig"), TWO),
    Kind("UTF-16 without a mark", csv(PEOPLE, "utf-16-le"), TWO),
    Kind("UTF-16 of the other order without a mark", csv(PEOPLE, "utf-16-be"), TWO),
    Kind("UTF-32", csv(PEOPLE, "utf-32"), refused="not text in UTF-8"),
    Kind(
        "EUC-KR names with the encoding",
        csv([ENGLISH, person(1, result="NEGATIVE", name="김서연")], "euc_kr"),
        ONE,
        encoding="euc_kr",
    ),
    Kind("semicolons", csv(PEOPLE, delimiter=";"), TWO),
    Kind("bars", csv(PEOPLE, delimiter="|"), TWO),
    Kind("commas of Chinese", csv(PEOPLE, delimiter="，"), TWO),
    Kind("sep=; in the first line", raw("day.csv", ("sep=;\r\n" + as_text(PEOPLE, ";")).encode()), TWO),
    Kind("ends of lines of old Macintoshes", raw("day.csv", TEXT.replace("\r\n", "\r").encode()), TWO),
    Kind("ends of lines of Unix", raw("day.csv", TEXT.replace("\r\n", "\n").encode()), TWO),
    Kind("no end of the last line", raw("day.csv", TEXT.rstrip().encode()), TWO),
    Kind(
        "all cells in quotation marks",
        raw("day.csv", "".join(",".join(f'"{cell}"' for cell in row) + "\r\n" for row in PEOPLE).encode()),
        TWO,
    ),
    Kind(
        "a line break in a cell",
        raw("day.csv", (as_text([TITLES]) + '"示例\r\n甲",' + as_text([person(1)]).partition(",")[2]).encode()),
        ONE,
    ),
    Kind(
        "a line break in a title",
        raw("day.csv", TEXT.replace("采样时间", '"采样时间\r\n(必填)"').encode()),
        {"T0001": 1, "T0002": 1},
    ),
    Kind(
        "two files behind one another",
        raw("day.csv", TEXT.encode("utf-8-sig") + as_text([TITLES, person(3)]).encode("utf-8-sig")),
        {**TWO, "T0003": 1},
        {4: ""},
    ),
    Kind("separators at the ends of lines", csv([[*row, "", ""] for row in PEOPLE]), TWO),
    Kind("rows of separators at the end", csv([*PEOPLE, *[[""] * 8] * 50]), TWO),
    Kind("empty rows of a workbook", xlsx(("结果", [TITLES, person(1), *[[""] * 8] * 3, person(2)])), TWO),
    Kind(
        "200 columns",
        csv([[*row, *([f"备用{n}" for n in range(192)] if row is TITLES else [])] for row in PEOPLE]),
        TWO,
    ),
    Kind("a workbook called .csv", renamed(xlsx(("结果", PEOPLE)), "day.csv"), TWO),
    Kind("a CSV called .xlsx", renamed(csv(PEOPLE), "day.xlsx"), TWO),
    Kind("text with tabs called .xls", renamed(csv(PEOPLE, "gb18030", "\t"), "day.xls"), TWO),
    Kind("a web page called .xls", raw("day.xls", b"\xef\xbb\xbf\r\n<html><table>"), refused="a web page or XML"),
    Kind("an archive with a CSV", renamed(xlsx(("结果", PEOPLE)), "a.zip"), TWO),
    Kind("a compressed CSV", raw("day.csv.gz", b"\x1f\x8b\x08" + bytes(99)), refused="an archive; unpack it"),
    Kind("half of a workbook", cut(xlsx(("结果", PEOPLE))), refused="cannot be opened; save it again"),
    Kind(
        "half of a sheet",
        with_cut_sheet(xlsx(("结果", [TITLES, *map(person, range(1, 300))]))),
        refused="is damaged after row",
    ),
    Kind("half of an .xls", cut(xls(("结果", PEOPLE))), refused="cannot be opened"),
    Kind("a workbook with a password", with_password, refused="has a password; save it without one"),
    Kind("an .xls with a password", old_with_password, refused="has a password; save it without one"),
    Kind("an empty file", raw("day.csv", b""), refused="is empty"),
    Kind("separators alone", raw("day.csv", b"  \r\n ,,,\r\n"), refused="is empty"),
    Kind("a workbook without cells", xlsx(("结果", [])), refused="is empty"),
    Kind("a header alone", csv([TITLES])),
]
HEADERS = [
    Kind(
        "titles of groups above the titles",
        xlsx(("结果", [["受检者", "", "采样", "检测", "", "样本", "", ""], TITLES, person(1)]), merged=["A1:B1"]),
        ONE,
    ),
    Kind(
        "titles in two rows",
        csv(
            [
                ["姓名", "身份证号", "采样", "检测结果", "报告", "管号", "混检人数", "报告编号"],
                ["", "", "时间", "", "时间", "", "", ""],
                person(1),
            ]
        ),
        refused="not understood: “采样”, “报告”",
    ),
    Kind("English titles below the Chinese ones", csv([TITLES, ENGLISH, person(1)]), ONE, {2: ""}),
    Kind(
        "units and remarks in titles",
        csv(
            [
                [
                    "姓 名",
                    "身份证号*",
                    "采样时间(年月日 时分)",
                    "检测结果：",
                    "报告时间【北京时间】",
                    "管号",
                    "混检人数/人",
                    "报告编号[唯一]",
                ],
                person(1),
            ]
        ),
        ONE,
        sampled="2022-08-08T22:00:00Z",
    ),
    Kind(
        "an empty column among the titles",
        csv([[*row[:3], "", *row[3:]] for row in PEOPLE]),
        TWO,
    ),
]
MORE_WORDS = [
    *(
        Kind(f"word {word}", csv(said("检测结果", word)), ONE, outcome="NEGATIVE")
        for word in ("(-)", "（－）", "阴", "未检出", "新冠阴性")
    ),
    *(Kind(f"word {word}", csv(said("检测结果", word)), ONE, outcome="POSITIVE") for word in ("(+)", "阳", "检出")),
    *(
        Kind(f"word {word}", csv(said("检测结果", word)), ONE, outcome="INCONCLUSIVE")
        for word in ("可疑阳性", "疑似阳性", "灰区")
    ),
    Kind("word 待出", csv(said("检测结果", "待出")), ONE, outcome="PENDING"),
    *(
        Kind(f"word {word}", csv(said("检测结果", word)), bad={2: "nat_result"})
        for word in ("-", "/", "正常", "不合格", "拒检", "1")
    ),
    *(
        Kind(f"size {word}", csv([TITLES, *members("S1", word, 3)]), {"S1": 3})
        for word in ("十混一", "二十混一", "10份", "1/10", "10合1")
    ),
    *(
        Kind(f"kind of document {word}", csv(plus("证件类型", word, rows=[person(1, card_no="00000001")])), ONE)
        for word in ("文职人员证", "警官证", "户口本", "出生医学证明", "驾驶证", "其他")
    ),
    *(
        Kind(
            f"nationality {word}",
            csv([[*TITLES, "证件类型", "国籍"], [*person(1, card_no="X1234567"), "护照", word]]),
            ONE,
        )
        for word in ("俄国", "英国", "UK", "Viet Nam", "Republic of Korea", "朝鲜", "德意志联邦共和国")
    ),
    *(
        Kind(
            f"nationality {word}",
            csv([[*TITLES, "证件类型", "国籍"], [*person(1, card_no="X1234567"), "护照", word]]),
            bad={2: "issuing_country"},
        )
        for word in ("Korea", "外国")
    ),
]
PROGRAMS = [*NUMBERS, *SAVED, *HEADERS, *MORE_WORDS]
