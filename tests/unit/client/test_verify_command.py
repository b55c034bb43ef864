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
