"""Files that went wrong elsewhere, by public reports, each with its right answer. They stand for whole kinds.

What the node answers for a residence permit under two labels, and for a district founded in 2021, is in
tests/rpc/client/test_commands.py. LibreOffice itself is in tests/tools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hutong.type.v1.identity_pb2 import DocumentType
from hutong_client.formatting import SHANGHAI
from hutong_client.tables.open import open_table
from hutong_client.tables.rows import NotATable
from hutong_client.tables.tubes import BadRow, Reading, ReadTube, read_tubes

from tests.support.client.laboratory_formats import REPORTED, SAMPLED, TITLES, csv, members, person, xlsx

Make = Callable[[Path], Path]
POSITIVE_POOL = [TITLES, *members("S0001", 10, 4, result="混管阳性")]
NEGATIVE_POOL = [TITLES, *members("S0002", 10, 4)]
HALF = [TITLES, person(1, "S0011"), person(2, "S0012")]
OTHER_HALF = [TITLES, *(person(number, f"S001{number}") for number in (3, 4, 5))]
TYPED = ["姓名", "证件类型", "证件号码", "采样时间", "检测结果", "报告时间", "报告编号"]
PERMIT = "810000187909099713"
OF_TESTS = ["姓名", "身份证号", "采样时间", "检测项目", "标本类型", "检测结果", "报告时间", "报告编号"]
LINPING = "330113"


def typed(number: int, kind: str, document: str, result: str = "阴性") -> list[object]:
    """Return a row under TYPED."""
    return ["示例", kind, document, SAMPLED, result, REPORTED, f"ST{number:04}"]


def examined(number: int, project: str, specimen: str) -> list[object]:
    """Return a row under OF_TESTS."""
    name, card = person(number)[:2]
    return [name, card, SAMPLED, project, specimen, "阴性", REPORTED, f"ST{number:04}"]


@dataclass(frozen=True)
class Case:
    """A file and its right answer.

    Attributes:
        make: writes the file and returns its path.
        tubes: code → size of the pool and number of persons.
        bad: number of each rejected row → a part of its description.
        refused: a part of the message if the file is refused.
    """

    make: Make
    tubes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    bad: Mapping[int, str] = field(default_factory=dict)
    refused: str = ""


CASES = {
    "tube code once, in a workbook": Case(xlsx(("结果", POSITIVE_POOL), merged=["F2:F5", "G2:G5"]), {"S0001": (10, 4)}),
    "tube code once": Case(csv(NEGATIVE_POOL), {"S0002": (10, 4)}),
    "two sheets": Case(xlsx(("上午", HALF), ("下午", OTHER_HALF)), {f"S001{number}": (1, 1) for number in range(1, 6)}),
    "permit called card": Case(
        csv([TYPED, typed(21, "身份证", PERMIT, "阳性"), typed(22, "港澳居民居住证", PERMIT)]),
        {"ST0021": (1, 1), "ST0022": (1, 1)},
    ),
    "antigen among nucleic acid": Case(
        csv(
            [
                OF_TESTS,
                examined(1, "新型冠状病毒抗原检测", "鼻拭子"),
                examined(2, "新型冠状病毒核酸检测", "咽拭子"),
                examined(3, "新型冠状病毒核酸检测", "食品外包装"),
            ]
        ),
        {"ST0002": (1, 1)},
        {2: "does not admit", 4: "no person's"},
    ),
    "Linping district": Case(
        csv([[*TITLES, "采样地区"], [*person(1, "S0041"), LINPING]]),
        {"S0041": (1, 1)},
    ),
    "long numbers put aside": Case(
        csv([TITLES, person(1, "00000001", result="阴姓", report_no="00220809061")]), bad={2: "not a known result"}
    ),
    "date and time apart": Case(
        csv(
            [
                ["姓名", "身份证号", "采样日期", "采样时间", "检测结果", "报告日期", "报告时间", "报告编号"],
                [*person(1)[:2], "2022-08-09", "06:00:00", "阴性", "2022-08-09", "12:00:00", "ST0051"],
            ]
        ),
        {"ST0051": (1, 1)},
    ),
    "report time by another name": Case(
        csv([[*TITLES[:4], "报告发布时间", *TITLES[5:]], person(1, "S1"), person(2, "S2")]),
        {"S1": (1, 1), "S2": (1, 1)},
    ),
    "names in Big5": Case(
        csv(
            [
                ["name", "card_no", "sample_date", "nat_result", "report_date", "report_no"],
                ["葉示例", person(1)[1], SAMPLED, "NEGATIVE", REPORTED, "ST0071"],
            ],
            "big5",
        ),
        refused="give its encoding with --encoding",
    ),
    "words of laboratories": Case(
        csv(
            [
                TYPED,
                *(
                    typed(80 + at, "身份证", str(person(at + 1)[1]), word)
                    for at, word in enumerate(("Not detected", "未检测到", "阴性。", "陰性"))
                ),
                typed(84, "身份证", f"{person(5)[1]}\u200b"),
                typed(85, "军官证", "军字第00000001号"),
                typed(86, "01", str(person(7)[1])),
                typed(87, "军官证", "00000001"),
            ]
        ),
        {f"ST00{number}": (1, 1) for number in (80, 81, 82, 83, 87)},
        {6: "U+200B", 7: "军官证", 8: "not a known type of document"},
    ),
    "error values": Case(
        xlsx(("结果", [TITLES, person(1, "#REF!", name="#NAME?"), person(2, "S2")])),
        {"S2": (1, 1)},
        {2: "error value"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_case_has_its_right_answer(tmp_path: Path, name: str) -> None:
    """Members belong to their tube, nothing is taken for another thing, and messages say what to do."""
    case = CASES[name]
    path = case.make(tmp_path)
    if case.refused:
        with pytest.raises(NotATable, match=case.refused), open_table(path):
            pass
        return
    with open_table(path) as table:
        items = list(read_tubes(table, Reading(SHANGHAI, "220502")))
    tubes = [item.tube for item in items if isinstance(item, ReadTube)]
    assert {tube.tube_code: (tube.pool_size, len(tube.persons)) for tube in tubes} == case.tubes
    bad = {item.row.number: item.faults[0].description for item in items if isinstance(item, BadRow)}
    assert bad.keys() == case.bad.keys()
    assert all(words in bad[number] for number, words in case.bad.items())
    assert all(tube.HasField("report_time") for tube in tubes)


def test_a_permit_called_card_is_sent_with_both_labels(tmp_path: Path) -> None:
    """The node knows that a number of GB 11643 is one person's. The region of Linping is sent as it is."""
    with open_table(CASES["permit called card"].make(tmp_path)) as table:
        items = [item for item in read_tubes(table, Reading(SHANGHAI, "220502")) if isinstance(item, ReadTube)]
    documents = [item.tube.persons[0].document for item in items]
    assert [document.number for document in documents] == [PERMIT] * 2
    assert [DocumentType.Name(document.type) for document in documents] == [
        "DOCUMENT_TYPE_RESIDENT_ID_CARD",
        "DOCUMENT_TYPE_RESIDENCE_PERMIT",
    ]
    with open_table(CASES["Linping district"].make(tmp_path)) as table:
        (item,) = read_tubes(table, Reading(SHANGHAI, "220502"))
    assert isinstance(item, ReadTube)
    assert item.tube.sample_region == LINPING
