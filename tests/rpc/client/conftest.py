"""A node with one small day and the sample policies, for all files of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clients.examples import generate_day
from clients.examples.day import LAB, NEGATIVE
from clients.examples.node import ALL
from tests.support.client.command_line import POLICIES, Shell
from tests.support.client.forked_node import forked_node


@pytest.fixture(scope="package")
def hutong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A node with a laboratory, its day and the sample policies; all brought in by the command itself."""
    where = tmp_path_factory.mktemp("node")
    rows = generate_day.generate_day(people=200, wrong=0, seed=5)
    day = where / "day.csv"
    generate_day.write_day(rows, day)
    row = next(it.row for it in rows if it.row.nat_result == NEGATIVE and len(it.row.card_no) == 18)
    with forked_node(where / "data", [ALL], {"HUTONG_UPLOAD_WORKERS": "0"}) as node:
        shell = Shell(node, {"card_no": row.card_no, "card_type": row.card_type, "report_no": row.report_no})
        shell("lab", "create", LAB, "--display-name", "通化示例检验所", "--region", "220502")
        shell("upload", str(day), "--lab", LAB)
        shell("policy", "apply", "-f", str(POLICIES), "--yes")
        yield shell


@pytest.fixture
def who(hutong: Shell) -> tuple[str, ...]:
    """Options that name the traveller."""
    return ("--type", hutong.traveller["card_type"], "--number", "-")
