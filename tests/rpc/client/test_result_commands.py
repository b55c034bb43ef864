"""The commands that read and change results, against a real node."""

from __future__ import annotations

from pathlib import Path

from hutong_client.cli.exit_codes import ExitCode

from clients.examples.day import LAB
from tests.support.client.command_line import Shell
from tests.support.client.laboratory_formats import TITLES, card, person
from tests.support.client.laboratory_formats import csv as csv_file

TWO_HOURS = ("--from", "2022-08-12T11:00:00+08:00", "--to", "2022-08-12T13:00:00+08:00")


def stored(hutong: Shell, folder: Path, *numbers: int) -> list[str]:
    """Upload a negative of each person and return the names of the results."""
    file = csv_file([TITLES, *(person(number) for number in numbers)])(folder)
    hutong("upload", str(file), "--lab", LAB, "--timezone", "Asia/Shanghai", "--region", "220502")
    return [hutong.json("lookup", "--number", card(number))["in_region"][0]["name"] for number in numbers]


def test_result_is_shown_listed_and_corrected(hutong: Shell, tmp_path: Path) -> None:
    """A correction is a new revision; the old one can still be read."""
    (name,) = stored(hutong, tmp_path, 601)
    assert f"{name}: negative, active, revision 1" in hutong("results", "get", name, "--case", "2022-0815").stdout
    corrected = hutong.json("correct", name, "--outcome", "positive", "--reason", "the tube was mixed up")
    assert corrected["test_result"]["revision"] == 2
    assert corrected["consistency_token"]
    assert hutong.json("results", "get", f"{name}@1")["outcome"] == "OUTCOME_NEGATIVE"
    person_of = ("results", "list", "--number", card(601))
    assert [it["revision"] for it in hutong.json(*person_of)["test_results"]] == [2]
    both = hutong.json(*person_of, "--state", "active", "--state", "superseded")["test_results"]
    assert sorted(it["revision"] for it in both) == [1, 2]
    assert "No such result" in hutong(*person_of, "--outcome", "negative").stdout
    again = ("correct", name, "--outcome", "negative", "--sample-time", "2018-01-01T00:00:00+08:00", "--reason", "x")
    assert "sample_time" in hutong(*again, code=ExitCode.FAILED).stderr


def test_results_of_a_laboratory_are_listed_to_a_limit(hutong: Shell) -> None:
    """The command says that there are more. A listing has one subject, and a case number is ASCII."""
    told = hutong("results", "list", "--lab", LAB, "--limit", "3")
    assert len(told.stdout.splitlines()) == 4
    assert "more than 3" in told.stderr
    hutong("results", "list", code=ExitCode.USAGE)
    hutong("results", "list", "--lab", LAB, "--case", "案件", code=ExitCode.USAGE)
    assert "NOT_FOUND" in hutong("results", "get", f"labs/{LAB}/results/none", code=ExitCode.FAILED).stderr


def test_recall_counts_first_and_asks(hutong: Shell, tmp_path: Path) -> None:
    """Without a terminal it needs --yes. A dry run and an empty interval recall nothing."""
    name = stored(hutong, tmp_path, 602, 603)[0]
    reported = hutong.json("results", "get", name)["report_time"]
    hour = ("--from", reported, "--to", reported.replace("Z", ".5Z"))
    recall = ("recall", LAB, *hour, "--outcome", "negative", "--reason", "contaminated reagents")
    count = int(hutong.json(*recall, "--validate-only")["recalled_count"])
    assert count >= 2
    refused = hutong(*recall, code=ExitCode.USAGE).stderr
    assert f"{count} results of labs/{LAB} would be recalled" in refused
    assert "--yes" in refused
    assert hutong.json("results", "get", name)["state"] == "RESULT_STATE_ACTIVE"
    assert f"{count} results were recalled" in hutong(*recall, "--yes").stdout
    assert hutong.json("results", "get", name)["state"] == "RESULT_STATE_RECALLED"
    assert hutong.json(*recall)["recalled_count"] == "0"
    unknown = ("recall", "91110000MA000LAB06", *hour, "--reason", "x", "--yes")
    assert "NOT_FOUND" in hutong(*unknown, code=ExitCode.FAILED).stderr


def test_upload_and_nodes_are_shown(hutong: Shell, tmp_path: Path) -> None:
    """The journal has the upload's id."""
    assert "No node" in hutong("nodes").stdout
    assert hutong.json("nodes") == {"nodes": []}
    file = csv_file([TITLES, person(604)])(tmp_path)
    arguments = ("upload", str(file), "--lab", LAB, "--timezone", "Asia/Shanghai", "--region", "220502")
    upload = hutong.json(*arguments)["upload"]
    assert hutong.json("uploads", "get", upload)["accepted_count"] == "1"
    assert "accepted 1, duplicates 0, rejected 0" in hutong("uploads", "get", upload).stdout
    unknown = f"labs/{LAB}/uploads/0190a5e2-7c00-7000-8000-000000000001"
    assert "NOT_FOUND" in hutong("uploads", "get", unknown, code=ExitCode.FAILED).stderr
