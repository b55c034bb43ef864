"""Files as laboratories write them, each with the rows that must be read from it.

They have layouts, encodings, words and formats that were seen in real files. Each test writes its file anew.
"""

from __future__ import annotations

from tests.support.client.laboratory_formats import (
    ENGLISH,
    NOON,
    REPORTED,
    SAMPLED,
    SIX,
    TITLES,
    card,
    csv,
    members,
    ndjson,
    person,
    plus,
    xlsx,
)
from tests.support.client.laboratory_kind import Kind
from tests.support.client.laboratory_oddities import ODDITIES
from tests.support.client.laboratory_programs import PROGRAMS
from tests.support.client.laboratory_times import TIMES
from tests.support.client.laboratory_words import ITEMS, NAMED, ONE, WORDS
from tests.support.client.laboratory_workbooks import OLD_WORKBOOKS

TWO = {**ONE, "T0002": 1}
PEOPLE = [TITLES, person(1), person(2)]
POOL = [TITLES, *members("S1", 10, 4)]
NO_TUBE = [["姓名", "身份证号", "采样时间", "检测结果", "报告时间", "报告编号"]]
EXPLAINED = ("填表说明", [["填表说明"], ["姓名：填写证件上的姓名"], ["示例", card(9)]])
NDJSON = {
    "身份证号": card(1),
    "采样时间": SAMPLED,
    "检测结果": "阴性",
    "报告时间": REPORTED,
    "管号": "T0001",
    "报告编号": "R1",
}


def titled(*titles: str) -> list[list[str]]:
    """Return one person under other titles."""
    return [[*titles], [str(cell) for cell in person(1)]]


def timed(
    *cells: object, titles: tuple[str, ...] = ("采样日期", "采样时间", "报告日期", "报告时间")
) -> list[list[object]]:
    """Return one person with dates and times of day in columns of their own."""
    return [["身份证号", *titles, "检测结果", "管号", "报告编号"], [card(1), *cells, "阴性", "T0001", "R0001"]]


LAYOUTS = [
    Kind("code and size once", csv(POOL), {"S1": 4}),
    Kind("code and size once, in a workbook", xlsx(("结果", POOL)), {"S1": 4}),
    Kind(
        "code and size once, positive",
        csv([TITLES, *members("S1", 10, 4, result="阳性")]),
        {"S1": 4},
        outcome="POSITIVE",
    ),
    Kind("code once, size everywhere", csv([TITLES, *members("S1", 10, 3, rest=10)]), {"S1": 3}),
    Kind(
        "two pools, each with its code once",
        csv([TITLES, *members("S1", 5, 5), *members("S2", 5, 3, first=6)]),
        {"S1": 5, "S2": 3},
    ),
    Kind(
        "code once, 同上 below",
        csv([TITLES, person(1, "S1", 5), person(2, "同上", "同上"), person(3, "〃", "〃")]),
        {"S1": 3},
    ),
    Kind("merged cells", xlsx(("结果", POOL), merged=["F2:F5", "G2:G5"]), {"S1": 4}),
    Kind("merged code alone", xlsx(("结果", [TITLES, *members("S1", "", 3)]), merged=["F2:F4"]), {"S1": 3}),
    Kind(
        "merged times and result",
        xlsx(
            ("结果", [TITLES, person(1, "S1", 5), [*person(2, "", "")[:2], None, None, None, None, None, "R0002"]]),
            merged=["C2:C3", "D2:D3", "E2:E3", "F2:F3", "G2:G3"],
        ),
        {"S1": 2},
    ),
    Kind(
        "code once without a size",
        csv([TITLES, *members("S1", "", 3)]),
        bad={2: "tube_code", 3: "tube_code", 4: "tube_code"},
    ),
    Kind(
        "more rows than the pool holds",
        csv([TITLES, *members("S1", 2, 3)]),
        bad={2: "tube_code", 3: "tube_code", 4: "tube_code"},
    ),
    Kind(
        "code twice, then rows without",
        csv([TITLES, person(1, "S1", 5), person(2, "S1", 5), person(3, "", "")]),
        bad={2: "tube_code", 3: "tube_code", 4: "tube_code"},
    ),
    Kind("a full tube, then a row without", csv([TITLES, person(1), person(2, "", "")]), ONE, {3: "tube_code"}),
    Kind(
        "a tube of one without a code among pools",
        csv([TITLES, *members("S1", 5, 2), person(3, "", 1)]),
        {"S1": 2, "R0003": 1},
    ),
    Kind(
        "code below its first members",
        csv([TITLES, person(1, "", ""), person(2, "S1", 5), person(3, "", "")]),
        {"S1": 2},
        {2: "tube_code"},
    ),
    Kind("no codes at all", csv([*NO_TUBE, [*person(1)[:5], "R0001"]]), {"R0001": 1}),
    Kind("size in the first row of a code alone", csv([TITLES, person(1, "S1", 10), person(2, "S1", "")]), {"S1": 2}),
    Kind(
        "two results in one tube",
        csv([TITLES, person(1, "S1", 5), person(2, "", "", "阳性")]),
        bad={2: "nat_result", 3: "nat_result"},
    ),
    Kind(
        "an empty result in a tube",
        csv([TITLES, person(1, "S1", 5), person(2, "", "", "")]),
        bad={2: "nat_result", 3: "nat_result"},
    ),
    Kind("混采 as the kind of sampling", csv(plus("采样方式", "混采", rows=[person(1, "", "")])), bad={2: "pool_size"}),
    Kind(
        "10混1 in the name of the test",
        csv(plus("检测项目", "新冠病毒核酸检测(10混1)", "新冠病毒核酸检测(10混1)", rows=members("S1", "", 2))),
        {"S1": 2},
    ),
    Kind(
        "a specimen code for each person, the size once",
        csv([TITLES, person(1, "Y1", 10), person(2, "Y2", ""), person(3, "Y3", "")]),
        bad={2: "tube_code", 3: "tube_code", 4: "tube_code"},
    ),
    Kind("a total with its count", csv([*PEOPLE, ["合计", "2", "", "", "", "", "", ""]]), TWO, {4: ""}),
    Kind(
        "sizes that repeat, without codes",
        csv([TITLES, person(1, "", 1), person(2, "", "同上")]),
        {"R0001": 1, "R0002": 1},
    ),
    Kind(
        "混检10:1 in the name of the test",
        csv(plus("检测项目", "新冠病毒核酸混检10:1", rows=[person(1, "S1", "")])),
        {"S1": 1},
        outcome="NEGATIVE",
    ),
    Kind(
        "单检 and 混检 in one name",
        csv(plus("检测项目", "新冠病毒核酸（单检/混检）", rows=[person(1, "S1", "")])),
        bad={2: "pool_size"},
    ),
    Kind("footers", csv([*PEOPLE, ["合计", "", "", "2人"], ["", "审核者：示例", "", ""]]), TWO, {4: "", 5: ""}),
    Kind(
        "a footer ends a group", csv([*POOL, ["制表人：示例"], person(8, "", "")]), {"S1": 4}, {6: "", 7: "tube_code"}
    ),
    Kind("the header on each page", csv([TITLES, person(1), TITLES, person(2)]), TWO, {3: ""}),
    Kind("titles above the header", csv([["核酸检测结果表"], ["单位：示例检验所"], *PEOPLE]), TWO),
]
SHEETS = [
    Kind("two sheets", xlsx(("上午", PEOPLE), ("下午", [TITLES, person(3)])), {**TWO, "T0003": 1}, notice="上午, 下午"),
    Kind("sheets of different columns", xlsx(("上午", PEOPLE), ("下午", plus("备注", ""))), refused="上午, 下午"),
    Kind("people without a header on the second sheet", xlsx(("上午", PEOPLE), ("下午", [person(3)])), refused="下午"),
    Kind(
        "a pool does not go on over sheets",
        xlsx(("上午", POOL), ("下午", [TITLES, person(9, "", "")])),
        {"S1": 4},
        {2: "tube_code"},
        notice="上午, 下午",
    ),
    Kind("a leading 填表说明", xlsx(EXPLAINED, ("结果", PEOPLE)), TWO, notice="填表说明"),
    Kind("an empty sheet behind", xlsx(("结果", PEOPLE), ("Sheet2", [])), TWO),
    Kind("a hidden first sheet", xlsx(("旧", [TITLES, person(7)]), ("结果", PEOPLE), hidden=["旧"]), TWO, notice="旧"),
    Kind("hidden rows", xlsx(("结果", PEOPLE), hidden_rows=[3]), TWO, notice="hidden"),
    Kind("no header anywhere", xlsx(("甲", [["敬启者"]]), ("乙", [["附上结果"]])), refused="no known column"),
    Kind(
        "error values",
        xlsx(("结果", [TITLES, person(1, "#REF!", name="#NAME?"), person(2)])),
        {"T0002": 1},
        {2: "name"},
    ),
    Kind(
        "error values in a CSV", csv([TITLES, person(1, "S1", 5), person(2, "#N/A", "")]), {"S1": 1}, {3: "tube_code"}
    ),
    Kind(".xlsx with an empty column in front", xlsx(("结果", [["", *row] for row in PEOPLE])), TWO),
]
TITLED = [
    Kind("date and time of day apart", csv(timed("2022-08-09", "06:00:00", "2022-08-09", "12:00:00")), ONE),
    Kind(
        "apart in a workbook",
        xlsx(("结果", timed(SIX.replace(hour=0), SIX.time(), NOON.replace(hour=0), NOON.time()))),
        ONE,
    ),
    Kind("apart, and the time has both", csv(timed("2022-08-09", SAMPLED, "2022/8/9", REPORTED)), ONE),
    Kind("apart, compact", csv(timed("20220809", "06:00:00", "20220809", "12:00")), ONE),
    Kind("apart and contradicting", csv(timed("2022-08-08", SAMPLED, "2022-08-09", "12:00")), bad={2: "sample_date"}),
    Kind("apart, the time missing", csv(timed("2022-08-09", "", "2022-08-09", "12:00")), bad={2: "sample_date"}),
    Kind(
        "apart in NDJSON",
        ndjson(
            {
                "身份证号": card(1),
                "采样日期": "2022-08-09",
                "采样时间": "06:00",
                "检测结果": "阴性",
                "报告时间": REPORTED,
                "管号": "T0001",
                "报告编号": "R1",
            }
        ),
        ONE,
    ),
    Kind(
        "时间 behind each date",
        csv(timed("2022-08-09", "06:00", "2022-08-09", "12:00", titles=("采样日期", "时间", "报告日期", "时间"))),
        ONE,
    ),
    Kind("时间 alone", csv([[*TITLES[:2], "时间", *TITLES[3:]], person(1)]), refused="as 采样时间 or 报告时间"),
    Kind("two persons side by side", csv([[*TITLES, *TITLES], [*person(1), *person(2)]]), refused="row of its own"),
    Kind("two titles of one column", csv(plus("结果", "阴性")), refused="keep “检测结果” in column D"),
    Kind("one title twice", csv(plus("检测结果", "阴性")), refused="keep the one whose cells are right"),
    Kind("two keys of one column", ndjson({"number": card(1), "card_no": card(2)}, NDJSON), ONE, {1: ""}),
    Kind(
        "three columns missing",
        csv([["姓名", "身份证号", "管号"], ["示例", card(1), "T1"]]),
        refused=r"nat_result \(检测结果\), report_no \(报告编号\), report_date",
    ),
    Kind("审核时间", csv([[*TITLES[:4], "审核时间", *TITLES[5:]], person(1)]), ONE),
    Kind("报告发布时间", csv([[*TITLES[:4], "报告发布时间", *TITLES[5:]], person(1)]), ONE),
    Kind("审核时间 beside 报告时间", csv(plus("审核时间", "2022-08-09 11:00:00")), ONE),
    Kind(
        "审核日期 and 审核时间",
        csv(
            timed("2022-08-09", "06:00", "2022-08-09", "12:00", titles=("采样日期", "采样时间", "审核日期", "审核时间"))
        ),
        ONE,
    ),
    Kind(
        "检测项目 beside 检测方法",
        csv([[*TITLES, "检测项目", "检测方法"], [*person(1), "新冠病毒核酸检测", "实时荧光PCR法"]]),
        ONE,
    ),
    Kind(
        "a long list of titles",
        csv(
            titled(
                "受检人姓名", "有效证件号码", "采集时间", "检验结果", "报告日期", "采样管编号", "混检比例", "报告单号"
            )
        ),
        ONE,
    ),
]
ENCODED = [
    Kind("GB18030 by its titles", csv(PEOPLE, "gb18030"), TWO),
    Kind("GB18030 by its words", csv([ENGLISH, *PEOPLE[1:]], "gb18030"), TWO),
    Kind("UTF-16", csv(PEOPLE, "utf-16"), TWO),
    Kind("tabs", csv(PEOPLE, delimiter="\t", suffix=".txt"), TWO),
    Kind("Big5 names", csv([ENGLISH, person(1, result="NEGATIVE", name="葉劉")], "big5"), refused="--encoding"),
    Kind(
        "Shift-JIS names",
        csv([ENGLISH, person(1, result="NEGATIVE", name="田中さくら")], "shift_jis"),
        refused="--encoding",
    ),
    Kind("EUC-KR names", csv([ENGLISH, person(1, result="NEGATIVE", name="김서연")], "euc_kr"), refused="--encoding"),
    Kind(
        "Windows-1251 names",
        csv([ENGLISH, person(1, result="NEGATIVE", name="Иванова Анна")], "cp1251"),
        refused="--encoding",
    ),
    Kind(
        "GB18030 names under English titles",
        csv([ENGLISH, person(1, result="NEGATIVE", name="赵示例")], "gb18030"),
        refused="--encoding",
    ),
    Kind(
        "Big5 names with the encoding",
        csv([ENGLISH, person(1, result="NEGATIVE", name="葉劉")], "big5"),
        ONE,
        encoding="big5",
    ),
    Kind("the wrong encoding", csv(PEOPLE, "gb18030"), refused="not text in utf-8", encoding="utf-8"),
]
KINDS = [*LAYOUTS, *SHEETS, *OLD_WORKBOOKS, *TITLED, *ENCODED, *WORDS, *ITEMS, *NAMED, *PROGRAMS, *TIMES, *ODDITIES]
