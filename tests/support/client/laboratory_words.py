"""Files with the words of laboratories: results, documents, countries, pools, tests and specimens."""

from __future__ import annotations

from tests.support.client.laboratory_formats import ENGLISH, TITLES, card, csv, members, ndjson, person, plus, xlsx
from tests.support.client.laboratory_kind import Kind

ONE = {"T0001": 1}
ANTIGEN = "items/sars-cov-2-antigen"


def said(title: str, word: str, **changes: str) -> list[list[object]]:
    """Return one person with a word in one column."""
    return [TITLES, person(1, **{ENGLISH[TITLES.index(title)]: word}, **changes)]


WORDS = [
    *(
        Kind(f"result {word}", csv(said("检测结果", word)), ONE, outcome="NEGATIVE")
        for word in (
            "Not detected",
            "未检测到",
            "阴性。",
            "陰性",
            "复检阴性",
            "阴性（-）",
            "NEGATIVE\u200b",
            "ｎｅｇａｔｉｖｅ",
        )
    ),
    *(Kind(f"result {word}", csv(said("检测结果", word)), ONE, outcome="INCONCLUSIVE") for word in ("弱阳性", "可疑")),
    Kind("result 待检", csv(said("检测结果", "待检")), ONE, outcome="PENDING"),
    Kind("result 作废", csv(said("检测结果", "作废")), bad={2: "nat_result"}),
    Kind(
        "result 弱阳性 of a pool",
        csv([TITLES, *members("S1", 10, 2, result="弱阳性")]),
        {"S1": 2},
        outcome="POOL_POSITIVE",
    ),
    *(
        Kind(f"pool {word}", csv([TITLES, *members("S1", word, 3)]), {"S1": 3})
        for word in ("10:1", "1:10", "10混1", "１０：１", "10人", "10:01:00", "10比1")
    ),
    Kind("pool 混采", csv([TITLES, person(1, "S1", "混采"), person(2, "S1", "混采")]), {"S1": 2}),
    Kind("pool 混采 of one row", csv([TITLES, person(1, "S1", "混采", "阳性")]), bad={2: "pool_size"}),
    *(
        Kind(f"document {word}", csv(plus("证件类型", word, rows=[person(1, card_no="00000001")])), ONE)
        for word in ("军官证", "士兵证", "户口簿")
    ),
    *(
        Kind(f"document {word}", csv(plus("证件类型", word)), ONE)
        for word in ("临时身份证", "居民身份证 ", "身份证\u200b")
    ),
    Kind(
        "document 港澳台居住证",
        csv(plus("证件类型", "港澳台居住证", rows=[person(1, card_no="810000188703030015")])),
        ONE,
    ),
    Kind("document 01", csv(plus("证件类型", "01")), bad={2: "card_type"}),
    Kind("an invisible character in a number", csv(said("身份证号", card(1) + "\u200b")), bad={2: "card_no"}),
    Kind(
        "军字第00000001号",
        csv(plus("证件类型", "军官证", rows=[person(1, card_no="军字第00000001号")])),
        bad={2: "card_no"},
    ),
    *(
        Kind(
            f"country {word}", csv([[*TITLES, "证件类型", "国籍"], [*person(1, card_no="X1234567"), "护照", word]]), ONE
        )
        for word in ("法国", "France", "fra", "大韩民国", "United States")
    ),
    Kind(
        "country 火星",
        csv([[*TITLES, "证件类型", "国籍"], [*person(1, card_no="X1234567"), "护照", "火星"]]),
        bad={2: "issuing_country"},
    ),
]
ITEMS = [
    *(
        Kind(f"test {word}", csv(plus("检测项目", word)), ONE)
        for word in (
            "新型冠状病毒核酸检测",
            "新冠病毒RT-PCR",
            "核酸",
            "愿检尽检",
            "全员检测(10混1)",
            "ORF1ab/N",
            "SARS-CoV-2 RNA",
        )
        if "10混1" not in word
    ),
    *(
        Kind(f"test {word}", csv(plus("检测项目", word)), bad={2: "check_project"})
        for word in (
            "新型冠状病毒抗原检测",
            "新冠抗体IgG",
            "IgM",
            "乙肝表面抗原",
            "乙型肝炎病毒DNA(PCR)",
            "甲型流感病毒核酸",
            "新冠/甲流/乙流三联核酸",
            "呼吸道合胞病毒核酸",
            "血常规",
            "肺炎支原体",
        )
    ),
    Kind(
        "antigen that is admitted", csv(plus("检测项目", "抗原检测", rows=[person(1)])), ONE, items=frozenset({ANTIGEN})
    ),
    Kind(
        "antigen by its method",
        csv([[*TITLES, "检测项目", "检测方法"], [*person(1), "新冠病毒", "胶体金法"]]),
        bad={2: "check_project"},
    ),
    Kind(
        "antigen among nucleic acid",
        csv(plus("检测项目", "新冠病毒核酸检测", "新冠病毒抗原检测")),
        ONE,
        {3: "check_project"},
    ),
    *(
        Kind(f"specimen {word}", csv(plus("标本类型", word)), bad={2: "sample_type"})
        for word in ("食品外包装", "环境物表", "冷链", "污水", "血清")
    ),
    *(Kind(f"specimen {word}", csv(plus("标本类型", word)), ONE) for word in ("咽拭子", "鼻咽拭子", "肺泡灌洗液")),
]

PERSON = [TITLES, person(1)]
RECORD = {title: str(cell) for title, cell in zip(TITLES, person(1), strict=True)}
UNNAMED = {2: "check_project"}
"""The fault of a row that names no test in a file that names another test than nucleic acid."""
NAMED = [
    Kind("antigen by the sheet's name", xlsx(("抗原", PERSON)), bad=UNNAMED),
    Kind("antigen by the sheet's name, admitted", xlsx(("抗原", PERSON)), ONE, items=frozenset({ANTIGEN})),
    Kind(
        "a sheet of antigen beside one of nucleic acid",
        xlsx(("核酸", PERSON), ("抗原", [TITLES, person(2)])),
        ONE,
        UNNAMED,
        notice="核酸, 抗原",
    ),
    Kind("antigen by the row above the header", csv([["新冠病毒抗原检测结果"], *PERSON]), bad={3: "check_project"}),
    Kind(
        "antigen by the row above the header of a workbook",
        xlsx(("结果", [["抗原检测登记表"], *PERSON])),
        bad={3: "check_project"},
    ),
    Kind("nucleic acid and antigen in the title", csv([["核酸、抗原检测结果"], *PERSON]), bad={3: "check_project"}),
    Kind("both in the title, the row names its own", csv([["核酸、抗原检测结果"], *plus("检测项目", "新冠核酸")]), ONE),
    Kind("antigen by a remark", csv(plus("备注", "抗原", "")), {"T0002": 1}, UNNAMED),
    Kind("antigen by a kit", csv(plus("试剂名称", "新型冠状病毒（2019-nCoV）抗原检测试剂盒")), bad=UNNAMED),
    Kind("antigen by a remark in NDJSON", ndjson(RECORD | {"备注": "抗原自测"}), bad={1: "check_project"}),
    Kind(
        "antigen by the title of the result in NDJSON",
        ndjson(RECORD | {"检测结果(抗原)": "阴性", "检测结果": ""}),
        bad={1: "check_project"},
    ),
    Kind(
        "antigen by the title of the result",
        csv([[*TITLES[:3], "检测结果（抗原）", *TITLES[4:]], person(1)]),
        bad=UNNAMED,
    ),
    Kind("antigen by the specimen", csv(plus("标本类型", "鼻拭子（抗原）")), bad=UNNAMED),
    Kind("a workplace of another name", csv(plus("工作单位", "示例抗体科技公司")), ONE),
    Kind("a dispensary of another disease", csv([["示例市结核病防治所核酸检测结果"], *PERSON]), ONE),
    Kind(
        "a remark of both under a title of nucleic acid",
        csv([["核酸检测结果"], *plus("备注", "抗原阳性后核酸复查")]),
        ONE,
    ),
    Kind("another test by the sheet's name", xlsx(("HIV", PERSON)), bad=UNNAMED),
    Kind("hepatitis by the sheet's name", xlsx(("乙肝表面抗原", PERSON)), bad=UNNAMED, items=frozenset({ANTIGEN})),
]
