"""`hutong upload` killed again and again against a real Results service always comes to the same end."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hutong.results.v1 import lab_service_pb2
from hutong.results.v1.upload_service_pb2 import GetUploadRequest
from hutong_client import connect

from clients.examples import generate_day
from clients.examples.day import LAB
from clients.examples.node import Node
from clients.examples.story import LABS
from tests.support.client.forked_node import forked_node
from tests.support.client.upload_process import HUTONG, acknowledged_offset, held_upload, read_journal, upload
from tests.support.processes import started
from tests.support.waiting import TIMEOUT_SECONDS

PEOPLE, WRONG = 800, 40
"""The numbers of persons and of wrong rows in the day."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A Results service as a process of its own, on SQLite, with the laboratory registered."""
    with forked_node(tmp_path / "node", ["results"]) as node:
        with connect(results=node.addresses["results"]) as connection:
            connection.labs.CreateLab(lab_service_pb2.CreateLabRequest(lab=LABS[0]), timeout=TIMEOUT_SECONDS)
        yield node


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """A small day of the example's laboratory, with wrong rows of every kind."""
    path = tmp_path / "day.csv"
    generate_day.main(["--people", str(PEOPLE), "--wrong", str(WRONG), "--seed", "11", "--out", str(path)])
    return path


def command(day: Path, *options: str) -> list[str]:
    """The command, with batches small enough to be killed between two of them."""
    return ["upload", str(day), "--lab", LAB, "--batch-size", "2", "--json", *options]


def expected_rejects(day: Path) -> dict[int, str]:
    with day.with_suffix(".wrong.csv").open(encoding="utf-8", newline="") as file:
        return {int(row["line"]): row["expected"] for row in csv.DictReader(file) if row["expected"] != "DUPLICATE"}


def told_rejects(day: Path) -> list[tuple[int, str]]:
    with day.with_name(day.name + ".rejects.csv").open(encoding="utf-8-sig", newline="") as file:
        return [(int(row["row"]), row["reasons"].split("; ")[0]) for row in csv.DictReader(file)]


def assert_right_end(node: Node, day: Path, told: dict[str, Any]) -> None:
    """Every good row is stored once, every bad row is reported once with its reason, and all sums are right."""
    expected = expected_rejects(day)
    assert told_rejects(day) == sorted(expected.items())
    assert told["accepted"] == PEOPLE
    assert told["duplicates"] == WRONG - len(expected)
    assert told["rejected"] == len(expected)
    assert Counter(told["rejected_by_reason"]) == Counter(expected.values())
    with connect(results=node.addresses["results"]) as connection:
        stored = connection.uploads.GetUpload(
            GetUploadRequest(name=str(told["upload"])), timeout=TIMEOUT_SECONDS
        ).upload
    assert stored.accepted_count == PEOPLE


async def test_client_killed_again_and_again_ends_in_the_same_state(node: Node, day: Path) -> None:
    """SIGKILL ends the command before its first row, and then after more and more acknowledgements.

    Each new run has --resume. Every run except the last is held up, so that it cannot end before it is killed.
    """
    arguments = command(day, "--resume")
    with started([*HUTONG, *arguments], env=node.environment):
        pass
    for _ in range(4):
        async with held_upload(node, day, arguments, tubes=10):
            pass
        assert not read_journal(day)["finished"]
    assert acknowledged_offset(day) >= 40
    assert_right_end(node, day, upload(node, arguments))
