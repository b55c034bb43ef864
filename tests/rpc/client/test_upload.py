"""`hutong upload` killed again and again against a real Results service always comes to the same end."""

from __future__ import annotations

import contextlib
import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hutong.results.v1 import lab_service_pb2
from hutong.results.v1.upload_service_pb2 import GetUploadRequest
from hutong_client import connect
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.uploads.journal import journal_path

from clients.examples import generate_day
from clients.examples.day import LAB
from clients.examples.node import Node
from clients.examples.story import LABS
from tests.support.client.forked_node import forked_node
from tests.support.link import link_to
from tests.support.processes import started
from tests.support.waiting import TIMEOUT_SECONDS, until

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


@contextlib.contextmanager
def command(environment: Mapping[str, str], day: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own, with batches small enough to be killed between two of them."""
    arguments = ["upload", str(day), "--lab", LAB, "--batch-size", "2", "--json", *options]
    pipe = subprocess.PIPE
    with started(
        [sys.executable, "-m", "hutong_client", *arguments], env=environment, stdout=pipe, stderr=pipe, text=True
    ) as process:
        yield process


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == ExitCode.PARTLY, err
    told: dict[str, Any] = json.loads(out)
    return told


def acknowledged(day: Path) -> int:
    path = journal_path(day)
    return int(json.loads(path.read_text(encoding="utf-8"))["acknowledged_offset"]) if path.exists() else -1


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

    Each new run has --resume. Every run except the last goes over a slow link, so that it cannot end before it is
    killed.
    """
    async with link_to(node.addresses["results"]) as link:
        link.slow(0.02)
        environment = node.environment | {"HUTONG_RESULTS_ADDRESS": link.address}
        with command(environment, day, "--resume"):
            pass
        offset = 0
        for _ in range(4):
            with command(environment, day, "--resume") as process:
                await until(lambda least=offset + 20: acknowledged(day) >= least or process.poll() is not None)  # type: ignore[misc]
            assert not json.loads(journal_path(day).read_text(encoding="utf-8"))["finished"]
            offset = acknowledged(day)
    assert offset >= 80
    with command(node.environment, day, "--resume") as process:
        assert_right_end(node, day, finish(process))
