"""A laboratory's day by `hutong upload`: every good row is stored once, every bad row reported with its reason."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
import subprocess
from collections import Counter
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from hutong.results.v1 import lab_service_pb2, lab_service_pb2_grpc
from hutong_client.cli.exit_codes import ExitCode

from clients.examples import demo
from clients.examples.day import LAB
from clients.examples.node import Node
from clients.examples.story import LABS
from tests.support.client.forked_node import forked_node
from tests.support.client.upload_process import held_upload, read_journal, upload
from tests.support.link import Link
from tests.support.waiting import TIMEOUT_SECONDS

PEOPLE = 20_000


def register_lab(node: Node) -> None:
    with grpc.insecure_channel(node.addresses["results"]) as channel:
        stub = lab_service_pb2_grpc.LabServiceStub(channel)
        stub.CreateLab(lab_service_pb2.CreateLabRequest(lab=LABS[0]), timeout=TIMEOUT_SECONDS)


def command(day: Path, *options: str) -> list[str]:
    return ["upload", str(day), "--lab", LAB, "--json", *options]


def half_way(node: Node, part: Path) -> AbstractAsyncContextManager[tuple[subprocess.Popen[str], Link]]:
    """An upload of which part is acknowledged and part is not."""
    return held_upload(node, part, command(part, "--batch-size", "10"), tubes=50, step=4_000)


class Expected:
    """The numbers that must be stored and rejected for the first `lines` lines of the day's file."""

    def __init__(self, lines: int) -> None:
        with demo.DAY.with_suffix(".wrong.csv").open(encoding="utf-8", newline="") as file:
            wrong = {int(row["line"]): row["expected"] for row in csv.DictReader(file)}
        wrong = {line: reason for line, reason in wrong.items() if line <= lines}
        self.duplicates = Counter(wrong.values())["DUPLICATE"]
        self.rejected = {line: reason for line, reason in wrong.items() if reason != "DUPLICATE"}
        self.accepted = lines - 1 - len(wrong)


def rejected(path: str) -> dict[int, str]:
    """The reasons of each rejected row by its number."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {int(row["row"]): row["reasons"] for row in rows}
    assert len(found) == len(rows), "a row was rejected twice"
    return found


LINES = demo.DAY.read_text(encoding="utf-8").splitlines(keepends=True)
WHOLE = Expected(len(LINES))


def first_lines() -> list[str]:
    """About a quarter of the day's file, with whole tubes only."""
    tubes = [row["tube_code"] for row in csv.DictReader(LINES)]
    end = next(index for index in range(5000, len(tubes)) if tubes[index] != tubes[index - 1])
    return LINES[: 1 + end]


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """The day's file in a directory of its own, where the command leaves its journal and the rejected rows."""
    return Path(shutil.copy(demo.DAY, tmp_path))


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """The first lines of the day's file in a directory of its own."""
    path = tmp_path / demo.DAY.name
    path.write_text("".join(first_lines()), encoding="utf-8")
    return path


def test_day_is_stored_once_and_wrong_rows_are_reported(tmp_path: Path, day: Path) -> None:
    """Every good row is accepted, every bad row is rejected for exactly its reason; again, nothing is stored twice."""
    with forked_node(tmp_path / "node", ["results"]) as node:
        register_lab(node)
        first = upload(node, command(day))
        assert WHOLE.accepted == PEOPLE
        assert (first["accepted"], first["duplicates"]) == (PEOPLE, WHOLE.duplicates)
        assert rejected(first["rejects_file"]) == WHOLE.rejected
        assert first["rejected_by_reason"] == Counter(WHOLE.rejected.values())

        # The first lines are enough to see that a second upload stores nothing.
        day.write_text("".join(first_lines()), encoding="utf-8")
        again, expected = upload(node, command(day)), Expected(len(first_lines()))
        assert again["upload"] != first["upload"]
        assert (again["accepted"], again["duplicates"]) == (0, expected.accepted + expected.duplicates)
        assert rejected(again["rejects_file"]) == expected.rejected


async def test_command_killed_half_way_and_resumed_ends_in_the_same_state(tmp_path: Path, part: Path) -> None:
    """SIGKILL to the command in the midst of its file: --resume ends where an undisturbed upload ends."""
    with forked_node(tmp_path / "node", ["results"]) as node:
        register_lab(node)
        async with half_way(node, part):
            pass
        assert not read_journal(part)["finished"]
        assert_same_state(node, part, upload(node, command(part, "--resume")))


async def test_service_killed_half_way_ends_in_the_same_state(tmp_path: Path, part: Path) -> None:
    """SIGKILL to Results in the midst of a file: once it is back the command goes on by itself and ends the same."""
    with forked_node(tmp_path / "node", ["results"]) as node:
        register_lab(node)
        async with half_way(node, part) as (process, link):
            await asyncio.to_thread(node.kill, "results")
            await asyncio.to_thread(node.start, "results")
            link.mend()
            output, _ = await asyncio.to_thread(process.communicate, timeout=120)
        assert process.returncode == ExitCode.PARTLY
        assert_same_state(node, part, json.loads(output))


def assert_same_state(node: Node, part: Path, answer: dict[str, Any]) -> None:
    """Counts and rejected rows are those of an undisturbed upload, and all that ought to be stored is."""
    expected = Expected(len(first_lines()))
    assert (answer["accepted"], answer["duplicates"]) == (expected.accepted, expected.duplicates)
    assert rejected(answer["rejects_file"]) == expected.rejected
    again = upload(node, command(part))
    assert (again["accepted"], again["duplicates"]) == (0, expected.accepted + expected.duplicates)
