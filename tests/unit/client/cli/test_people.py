"""People to decide for, read from files and pipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hutong.type.v1 import identity_pb2, purpose_pb2
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong_client.cli.people import read_lines, read_people, read_question
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
    first, second, bad = read_people(path, TEMPLATE)
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
        with pytest.raises(NotATable):
            list(read_people(path, TEMPLATE))


def test_lines_of_a_pipe_come_completely(tmp_path: Path) -> None:
    """Also the last one, without its line end."""
    path = tmp_path / "pipe"
    path.write_text("a\nbb\nccc", encoding="utf-8")
    with path.open("rb") as file:
        assert list(read_lines(file.fileno())) == ["a", "bb", "ccc"]
