"""The commands that read and change results, against a real node."""

from __future__ import annotations

import json
from pathlib import Path

from hutong_client.cli.exit_codes import ExitCode

from clients.examples.day import LAB
from tests.support.client.command_line import Shell, upload_negatives, upload_of_negatives
from tests.support.client.laboratory_formats import card


def test_result_is_shown_listed_and_corrected(hutong: Shell, tmp_path: Path) -> None:
    """A correction is a new revision; the old one can still be read."""
    (name,) = upload_negatives(hutong, tmp_path, 601)
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
    name = upload_negatives(hutong, tmp_path, 602, 603)[0]
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
    hutong("nodes", "--csv", str(tmp_path / "nodes.csv"), "--xlsx", str(tmp_path / "nodes.xlsx"))
    (header,) = (tmp_path / "nodes.csv").read_text(encoding="utf-8-sig").splitlines()
    assert header.split(",")[:4] == ["node", "through", "state", "as of"]
    assert (tmp_path / "nodes.xlsx").exists()
    hutong("nodes", "--csv", str(tmp_path / "nodes.csv"), "--json", code=ExitCode.USAGE)
    hutong("nodes", "--html", str(tmp_path / "nodes.html"))
    assert "<h1>Nodes</h1>" in (tmp_path / "nodes.html").read_text(encoding="utf-8")
    hutong("nodes", "--html", str(tmp_path / "nodes.html"), "--json", code=ExitCode.USAGE)
    upload = hutong.json(*upload_of_negatives(tmp_path, 604))["upload"]
    assert hutong.json("uploads", "get", upload)["accepted_count"] == "1"
    assert "accepted 1, duplicates 0, rejected 0" in hutong("uploads", "get", upload).stdout
    unknown = f"labs/{LAB}/uploads/0190a5e2-7c00-7000-8000-000000000001"
    assert "NOT_FOUND" in hutong("uploads", "get", unknown, code=ExitCode.FAILED).stderr


def test_documents_are_linked_and_unlinked(hutong: Shell, tmp_path: Path) -> None:
    """Both numbers are read from standard input. No output contains a whole number."""
    (name,) = upload_negatives(hutong, tmp_path, 605)
    passport = ("--linked-type", "passport", "--linked-country", "FRA", "--linked-number", "-")
    both = ("--number", "-", *passport, "--case", "2022-0815", "--reason", "saw both documents")
    numbers = f"{card(605)}\n12AB34605\n"
    linked = hutong.json("link", *both, stdin=numbers)["document_link"]
    assert linked["linked_masked_number"].count("*") >= 5
    of_passport = ("--type", "passport", "--country", "FRA", "--number", "12AB34605")
    assert [it["name"] for it in hutong.json("results", "list", *of_passport)["test_results"]] == [name]
    assert "saw both documents" in hutong("links", *of_passport).stdout
    told = hutong("unlink", *both, stdin=numbers).stdout
    assert f"{linked['name']}: resident id card" in told
    assert "removed" in told
    assert "12AB34605" not in told
    (ended,) = hutong.json("links", *of_passport)["document_links"]
    assert ended["unlink_reason"] == "saw both documents"
    assert "NOT_FOUND" in hutong("unlink", *both, stdin=numbers, code=ExitCode.FAILED).stderr
    assert "no other" in hutong("links", "--number", card(606)).stdout
    assert "--linked-number" in hutong("link", *both, stdin=f"{card(605)}\n", code=ExitCode.USAGE).stderr


def test_import_tells_what_is_here_now(hutong: Shell, tmp_path: Path) -> None:
    """The node is the nation, which has everything already."""
    (name,) = upload_negatives(hutong, tmp_path, 607)
    told = hutong("import", "--number", card(607)).stdout
    assert "0 results were imported; 1 are here now." in told
    assert name in told
    assert hutong.json("import", "--number", card(606)) == {"test_results": [], "imported_count": 0}
    assert "BAD_DOCUMENT_NUMBER" in hutong("import", "--number", "41010519491231002X", code=ExitCode.FAILED).stderr


def test_watch_goes_on_after_its_cursor(hutong: Shell, tmp_path: Path) -> None:
    """The file of the cursor makes the second run print only what came since."""
    upload_negatives(hutong, tmp_path, 608)
    cursor = tmp_path / "cursor"
    watch = ("watch", "results", "--lab", LAB, "--cursor-file", str(cursor), "--until-current")
    assert "R0608@1" in hutong(*watch).stdout
    (name,) = upload_negatives(hutong, tmp_path, 609)
    assert [line.split()[4] for line in hutong(*watch).stdout.splitlines()] == [f"{name}@1"]
    lines = hutong(*watch, "--json").stdout.splitlines()
    assert all("checkpoint" in json.loads(line) for line in lines)
    policies = hutong("watch", "policies", "--until-current").stdout
    assert "snapshot  jurisdictions/000000/policies/notice-81@1" in policies
    assert "INVALID" in hutong("watch", "results", "--cursor", "nonsense", code=ExitCode.FAILED).stderr


def test_node_that_sends_no_audit_heads_has_none(hutong: Shell) -> None:
    assert hutong("audit-heads", "nodes/410000").stdout == "The node has sent no head.\n"
    assert hutong.json("audit-heads", "nodes/410000") == {"audit_heads": []}
    assert "INVALID_FIELD" in hutong("audit-heads", "410000", code=ExitCode.FAILED).stderr


def test_legal_holds_are_put_listed_and_lifted(hutong: Shell) -> None:
    """No results are held beyond a purge yet. No output contains the document's number."""
    conditions = ("--number", "-", "--lab", LAB, "--to", "2022-08-01T00:00:00+08:00")
    put = hutong.json("hold", "create", *conditions, "--case", "C-17", "--reason", "forged", stdin=f"{card(606)}\n")
    held = put["legal_hold"]
    assert (held["lab"], held["case_id"], held["masked_number"].count("*") >= 5) == (f"labs/{LAB}", "C-17", True)
    shown = hutong("hold", "list").stdout
    assert held["name"] in shown
    assert f"labs/{LAB}, reports from … to 2022-08-01 00:00:00" in shown
    assert card(606) not in shown
    assert "No purge" in hutong("hold", "results", held["name"], "--case", "C-17").stdout
    assert hutong.json("hold", "results", held["name"]) == {"held_results": []}
    assert f"{held['name']}: lifted 20" in hutong("hold", "lift", held["name"], "--reason", "closed").stdout
    assert "There is no hold" in hutong("hold", "list").stdout
    assert [it["name"] for it in hutong.json("hold", "list", "--all")["legal_holds"]] == [held["name"]]
    told = hutong("hold", "create", "--reason", "x", code=ExitCode.FAILED).stderr
    assert "must state a document, a laboratory or a bound of report_interval" in told
