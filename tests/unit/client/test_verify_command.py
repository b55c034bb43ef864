"""`hutong verify` for many people: each gets their own answer, whatever stands beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hutong_client.commands.root import run

from tests.unit.client.fake_verification import serving_verification

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
def test_nobody_gets_the_decision_of_another(verify: Verify, first: dict[str, str], second: dict[str, str]) -> None:
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
    """Those before and behind it are answered; its fault is told under its row, without what stands in it."""
    before, fault, behind = verify(f"{question('A')}\n{line}\n{question('B', correlation_id=None)}\n")
    assert (before["decision"]["name"], behind["decision"]["name"]) == ("A", "B")
    assert (fault["row"], fault["correlation_id"], behind["correlation_id"]) == (2, "2", "3")
    assert len(fault["error"]["message"]) < 100
