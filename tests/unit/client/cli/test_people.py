"""People to decide for, read from files and pipes."""

from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path

import pytest
from hutong.type.v1 import identity_pb2, purpose_pb2
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong_client.cli.people import open_people, read_line, read_lines, read_question
from hutong_client.formatting import SHANGHAI
from hutong_client.tables.rows import NotATable

from tests.support.client.laboratory_files import CARDS

TEMPLATE = VerifyRequest(region="410105", purpose=purpose_pb2.PURPOSE_HOTEL)


def test_people_of_a_csv_differ_from_the_template_where_they_say_so(tmp_path: Path) -> None:
    """Region, purpose and time come from the row. A bad row is reported and the others are asked."""
    path = tmp_path / "people.csv"
    path.write_text(
        "证件号码,证件类型,region,purpose,use_time\n"
        f"{CARDS[0]},,,,\n"
        f"{CARDS[1]},居民身份证,310104,city-transport,2022-08-11T09:30:00+08:00\n"
        "4.1E+17,居民身份证,,,\n",
        encoding="utf-8",
    )
    with open_people(path, TEMPLATE) as people:
        first, second, bad = people.questions
    assert (first.mark, first.request.region, first.request.document.type) == (
        "2",
        "410105",
        identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD,
    )
    assert (second.request.region, second.request.purpose) == ("310104", purpose_pb2.PURPOSE_CITY_TRANSPORT)
    assert second.request.use_time.seconds == 1_660_181_400
    assert bad.fault


def test_gate_keeps_its_own_marks() -> None:
    """A plain VerifyRequest is marked by its line, a StreamVerifyRequest by itself; a broken line by its fault."""
    question = {"document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": CARDS[0]}, "region": "310104"}
    plain = read_question(7, json.dumps(question), TEMPLATE)
    assert (plain.mark, plain.request.region, plain.request.purpose) == ("7", "310104", purpose_pb2.PURPOSE_HOTEL)
    marked = read_question(8, json.dumps({"correlation_id": "gate 3", "request": question}), TEMPLATE)
    assert (marked.mark, marked.request.document.number) == ("gate 3", CARDS[0])
    for line in ("{", "[]", '{"region": 5, "nonsense": true}', '{"request": "x"}'):
        broken = read_question(9, line, TEMPLATE)
        assert broken.fault
        assert line not in broken.fault


def test_file_that_names_no_person_is_refused(tmp_path: Path) -> None:
    """An empty one, and one without the column."""
    for text in ("", "name,region\nx,y\n"):
        path = tmp_path / "people.csv"
        path.write_text(text)
        with pytest.raises(NotATable), open_people(path, TEMPLATE) as people:
            list(people.questions)


def test_lines_of_a_pipe_come_completely(tmp_path: Path) -> None:
    """The last line is read too, even without its line end."""
    path = tmp_path / "pipe"
    path.write_text("a\nbb\nccc", encoding="utf-8")
    with path.open("rb") as file:
        assert list(read_lines(file.fileno())) == ["a", "bb", "ccc"]


TOKEN = "AQE" + "x-_9" * 20


@pytest.mark.parametrize(
    ("line", "document"),
    [
        (f"{CARDS[0]}\t赵示例", ("DOCUMENT_TYPE_RESIDENT_ID_CARD", CARDS[0], "赵示例", "")),
        (f"  {CARDS[0]}\t 赵 示例 \r", ("DOCUMENT_TYPE_RESIDENT_ID_CARD", CARDS[0], "赵 示例", "")),
        ("X1234567\tJean Dupont\tpassport\tFRA", ("DOCUMENT_TYPE_PASSPORT", "X1234567", "Jean Dupont", "FRA")),
        ("830000199001011239\t林示例", ("DOCUMENT_TYPE_RESIDENCE_PERMIT", "830000199001011239", "林示例", "")),
        (CARDS[0], ("DOCUMENT_TYPE_RESIDENT_ID_CARD", CARDS[0], "", "")),
    ],
    ids=["number and name", "spaces and CR", "passport", "residence permit", "number alone"],
)
def test_line_is_a_number_and_a_name(line: str, document: tuple[str, ...]) -> None:
    """The template's place and purpose count. The service decides whether the number alone is enough."""
    asked = read_line(3, line, TEMPLATE)
    read = asked.request.document
    assert not asked.fault
    assert (identity_pb2.DocumentType.Name(read.type), read.number, read.name, read.issuing_country) == document
    assert (asked.row, asked.request.region) == (3, "410105")


def test_line_is_a_token_or_json() -> None:
    """A token is longer than any number. A line of JSON is read as before."""
    assert read_line(1, f"\ufeff{TOKEN}\n", TEMPLATE).request.holder_token == TOKEN
    assert read_line(1, json.dumps({"document": {"number": "A"}}), TEMPLATE).request.document.number == "A"


@pytest.mark.parametrize(
    "line",
    [
        "赵示例",
        f"{CARDS[0]},赵示例",
        f"{CARDS[0]} 赵示例",
        "\t赵示例",
        "X1234567\tJean",
        f"{CARDS[0]}\t赵\ufffd",
        "1\t2\t3\t4\t5",
    ],
)
def test_line_that_cannot_be_asked_has_a_fault(line: str) -> None:
    """The fault says what is expected. It has nothing of the line."""
    fault = read_line(1, line, TEMPLATE).fault
    assert fault
    assert CARDS[0] not in fault


def test_footer_of_a_list_of_passengers_is_told_as_one(tmp_path: Path) -> None:
    """The footer still counts as a line. A passenger without a number stays a passenger, even with such a name."""
    path = tmp_path / "people.csv"
    lines = ("Page Larry,,2022-08-11 09:30", "合计,500,", "制表：示例,,日期：2022-08-11")
    path.write_text("\n".join(("姓名,证件号码,出发时间", *lines)), encoding="utf-8")
    with open_people(path, TEMPLATE) as people:
        assert ["footer" in asked.fault for asked in people.questions] == [False, True, True]


def test_departures_are_read_in_the_stated_zone(tmp_path: Path) -> None:
    """A departure may be in one column or in two."""
    for titles, cells in (("出发时间", "2022-08-11 09:30"), ("出发日期,出发时间", "2022-08-11,09:30")):
        path = tmp_path / "people.csv"
        path.write_text(f"证件号码,姓名,{titles}\n{CARDS[0]},赵示例,{cells}\n", encoding="utf-8")
        for zone, expected in ((SHANGHAI, 1_660_181_400), (UTC, 1_660_210_200)):
            with open_people(path, TEMPLATE, zone=zone) as people:
                (asked,) = people.questions
            assert asked.request.use_time.seconds == expected
