"""`hutong verify` for many people: each gets their own answer, whatever stands beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run
from openpyxl import Workbook

from tests.support.client.fake_verification import serving_verification
from tests.support.client.laboratory_files import CARDS
from tests.support.client.laboratory_formats import xlsx

Verify = Callable[[str], list[dict[str, Any]]]


def question(number: str, **own: object) -> str:
    """A line of a gate; keywords stand beside the request."""
    return json.dumps({**own, "request": {"document": {"number": number}}})


@pytest.fixture
def address() -> Iterator[str]:
    with serving_verification() as address:
        yield address


@pytest.fixture(params=["file", "pipe"])
def verify(
    request: pytest.FixtureRequest,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Verify:
    """Runs the command over lines, from a file and from a pipe; the answers by row."""

    def answers(text: str) -> list[dict[str, Any]]:
        people = tmp_path / "people.ndjson"
        people.write_text(text, encoding="utf-8")
        with people.open(encoding="utf-8") as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            source = "-" if request.param == "pipe" else str(people)
            run(["verify", source, "--region", "410105", "--purpose", "hotel", "--json", "--verification", address])
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return sorted(told, key=lambda answer: int(answer["row"]))

    return answers


@pytest.mark.parametrize(
    ("first", "second"),
    [({"correlation_id": "g"}, {"correlation_id": "g"}), ({"correlation_id": "2"}, {}), ({}, {"correlation_id": "1"})],
    ids=["one mark twice", "the next row's number", "the row's before"],
)
def test_no_person_gets_the_decision_about_another(
    verify: Verify, first: dict[str, str], second: dict[str, str]
) -> None:
    """Whatever marks the gate has given; each answer comes with its row and the gate's own mark."""
    answers = verify(f"{question('A', **first)}\n{question('B', **second)}\n")
    assert [answer["decision"]["name"] for answer in answers] == ["A", "B"]
    assert [answer["row"] for answer in answers] == [1, 2]
    assert [answer["correlation_id"] for answer in answers] == [
        first.get("correlation_id", "1"),
        second.get("correlation_id", "2"),
    ]


HOSTILE = {
    "no request": '{"request": null}',
    "a number as request": '{"request": 5}',
    "a list as request": '{"request": []}',
    "an endless number": '{"purpose": 1e400}',
    "a number of 5,000 digits": '{"a": ' + "1" * 5_000 + "}",
    "no number": '{"purpose": NaN}',
    "endless brackets": "[" * 100_000,
    "endless objects": '{"document": ' * 5_000,
    "half a character": '{"document": {"number": "\\ud800"}}',
    "half a character as mark": question("A", correlation_id="\ud800"),
    "a line break in the mark": question("A", correlation_id="x\n3: RECOGNIZED"),
    "a long mark": question("A", correlation_id="x" * 65),
    "an object as mark": question("A", correlation_id={"a": 1}),
    "a book": question("9" * 5_000_000),
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_bad_line_is_its_own_fault_alone(verify: Verify, line: str) -> None:
    """The lines before and behind it are answered. Its fault is reported under its row, without its content."""
    before, fault, behind = verify(f"{question('A')}\n{line}\n{question('B', correlation_id=None)}\n")
    assert (before["decision"]["name"], behind["decision"]["name"]) == ("A", "B")
    assert (fault["row"], fault["correlation_id"], behind["correlation_id"]) == (2, "2", "3")
    assert len(fault["error"]["message"]) < 100


class Table:
    """Runs the command over a table of people."""

    def __init__(self, address: str, where: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.options = ["--region", "410105", "--purpose", "hotel", "--verification", address]
        self._capsys = capsys
        self.path = where / "people.csv"

    def __call__(self, content: str | bytes) -> tuple[int, list[str]]:
        """The exit code, and whom each row's answer is about or what its fault is; a word about the whole file."""
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self.run()

    def run(self) -> tuple[int, list[str]]:
        code = run(["verify", str(self.path), *self.options, "--json"])
        told = self._capsys.readouterr()
        answers = [json.loads(line) for line in told.out.splitlines()]
        words = [
            f"{it['row']}: {it['decision']['name'] if 'decision' in it else it['error']['message']}" for it in answers
        ]
        return code, words or [told.err]


@pytest.fixture
def table(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Table:
    return Table(address, tmp_path, capsys)


A, B, C = CARDS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"card_no,purpose\n{A},hotel\n{B},foo\n{C},hotel\n", "the purpose is not a known word; one of"),
        (f"card_no,use_time\n{A},\n{B},2022-08-01\n{C},\n", "no time of day"),
        (f"card_no,name\n{A},a\n{B},{'x' * 200_000}\n{C},c\n", "far too long"),
        (f'card_no,name\n{A},a\n{B},"b\n{C},c\n', "stray quotation mark"),
        (f"card_no\n{A}\n\0{B}\n{C}\n", "NUL"),
        (f"card_no,name\n{A},a\n{B},#REF!\n{C},c\n", "error value"),
    ],
    ids=["purpose", "time", "huge cell", "stray quotation mark", "NUL", "error value"],
)
def test_bad_row_of_a_table_is_its_own_fault_alone(table: Table, content: str, words: str) -> None:
    """The people above and below it get their answers."""
    code, (before, fault, behind) = table(content)
    assert code == ExitCode.PARTLY
    assert (before, behind) == (f"2: {A}", f"4: {C}")
    assert fault.startswith("3: ")
    assert words in fault
    assert B not in fault


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_people_are_read_as_a_laboratorys_rows_are(table: Table, end: str, delimiter: str) -> None:
    """Delimiters, line ends, a blank line above the header, GB18030."""
    text = end.join(["", delimiter.join(["证件号码", "姓名"]), delimiter.join([A, "赵示例"]), ""])
    for encoding in ("utf-8", "utf-8-sig", "gb18030"):
        assert table(text.encode(encoding)) == (ExitCode.UNDETERMINED, [f"3: {A}"])


def test_people_may_stand_in_a_workbook(table: Table) -> None:
    """Regions as numbers too; a number that Excel rounded is a fault of its row."""
    book = Workbook()
    for row in (["card_no", "region", "purpose"], [A, 410105, "hotel"], [float(B), 410105, "hotel"]):
        book.worksheets[0].append(row)
    book.save(table.path)
    code, (good, rounded) = table.run()
    assert (code, good) == (ExitCode.PARTLY, f"2: {A}")
    assert "format the column as text" in rounded


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("card_no,name\n", "no person to decide for"),
        ("", "is empty"),
        ("name\nx\n", "lacks card_no (证件号码)"),
        (f"示例,身份证,{A}\n示例,身份证,{B}\n", "looks like a person's row"),
    ],
)
def test_table_without_persons_is_refused(table: Table, content: str, words: str) -> None:
    """Silence could be taken for an answer."""
    code, (told,) = table(content)
    assert code == ExitCode.USAGE
    assert words in told


def test_the_place_is_asked_for_once(table: Table, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command asks before anything is sent, and not for each person. Columns of the file may give the place."""
    table.path.write_text(f"card_no,region,purpose\n{A},410105,hotel\n", encoding="utf-8")
    assert run(["verify", str(table.path), "--verification", address]) == ExitCode.UNDETERMINED
    table.path.write_text(f"card_no\n{A}\n{B}\n", encoding="utf-8")
    capsys.readouterr()
    assert run(["verify", str(table.path), "--verification", address, "--region", "410105"]) == ExitCode.USAGE
    told = capsys.readouterr()
    assert (told.out, told.err.count("give --purpose")) == ("", 1)


def test_hidden_rows_of_people_are_told(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    """Hidden rows of people are named as hidden rows of results are."""
    path = xlsx(("旅客", [["card_no", "name"], [A, "-"], [B, "b"]]), hidden_rows=[3])(table.path.parent)
    table.path = path.rename(path.with_name("people.xlsx"))
    command = ["verify", str(table.path), *table.options]
    assert run(command) == ExitCode.UNDETERMINED
    assert "1 row is hidden (3)" in capsys.readouterr().err
