"""The commands about stored decisions, policies and reports of refusal, against a real node."""

from __future__ import annotations

import csv
from pathlib import Path

from hutong_client.cli.exit_codes import ExitCode

from clients.examples.day import LAB
from tests.support.client.command_line import Shell, upload_negatives
from tests.support.client.laboratory_formats import card


def test_stored_decision_is_explained_and_replayed(hutong: Shell, tmp_path: Path) -> None:
    """The present rules give the same decision again."""
    upload_negatives(hutong, tmp_path, 610)
    place = ("--region", "410105", "--purpose", "hotel", "--use-time", "2022-08-15T20:00:00+08:00")
    name = hutong.json("verify", "--number", card(610), *place, "--store-decision")["name"]
    told = hutong("decisions", "get", name, "--case", "2022-0815").stdout
    assert told.startswith("RECOGNIZED, VALID")
    assert "Asked: in 410105 for hotel" in told
    assert "Known: 1 records" in told
    assert hutong.json("decisions", "get", name)["inputs"]["records"]
    assert "is identical with" in hutong("decisions", "replay", name, "--case", "2022-0815").stdout
    assert hutong.json("decisions", "replay", name)["comparison"] == "REPLAY_COMPARISON_IDENTICAL"
    unknown = "decisions/0190a5e2-7c00-7000-8000-000000000001"
    assert "NOT_FOUND" in hutong("decisions", "get", unknown, code=ExitCode.FAILED).stderr


def test_a_signed_report_is_verified_and_flagged_evidence_listed(hutong: Shell, tmp_path: Path) -> None:
    """The report number has no digit. The evidence is flagged until the key is registered, and after it is revoked."""
    secret, public = str(tmp_path / "lab.key"), str(tmp_path / "lab.pub")
    hutong("report", "new-key", secret, public)
    issued = "2022-08-15T12:00:00+08:00"
    report = ("--lab", LAB, "--report-number", "SIGNED", "--outcome", "negative", "--report-time", issued)
    signed = hutong("report", "sign", "--key", secret, *report, "--number", card(611)).stdout.strip()
    place = ("--region", "410105", "--purpose", "hotel", "--use-time", "2022-08-15T20:00:00+08:00")
    shown = ("verify", "--number", card(611), *place, "--evidence", f"channel=paper-report,signed_report={signed}")

    def flags() -> str:
        name = hutong.json(*shown)["name"]
        lines = hutong("decisions", "get", name, "--case", "2022-0815").stdout.splitlines()
        return "".join(line.partition("flagged: ")[2] for line in lines)

    assert flags() == "SIGNED: number without digit"
    registered = hutong("lab", "set-signing-key", LAB, public).stdout
    assert "signing key " in registered
    assert flags() == ""
    revoked = hutong("lab", "set-signing-key", LAB, public, "--revoked-from", issued).stdout
    assert "revoked from 2022-08-15 12:00:00" in revoked
    assert flags() == "SIGNED: number without digit, signature not valid"
    (flag,) = hutong.json("decisions", "flags", "--region", "410000", "--kind", "signature-not-valid")["evidence_flags"]
    assert (flag["report_number"], flag["region"]) == ("SIGNED", "410100")
    assert "SIGNED" in hutong("decisions", "flags", "--lab", f"labs/{LAB}").stdout


def test_a_report_that_two_persons_show_is_a_case_that_officers_conclude(hutong: Shell, tmp_path: Path) -> None:
    place = ("--region", "410105", "--purpose", "hotel", "--use-time", "2022-08-15T20:00:00+08:00")
    shown = f"channel=paper-report,lab=labs/{LAB},report_number=TWICE-1,report_time=2022-08-15T12:00:00+08:00"
    for person in (612, 613):
        hutong("verify", "--number", card(person), *place, "--evidence", f"{shown},outcome=negative")
    narrowed = ("--region", "410000", "--kind", "other-person", "--lab", f"labs/{LAB}", "--state", "open")
    cases = hutong.json("case", "list", *narrowed)["evidence_cases"]
    (found,) = [one for one in cases if one["report_number"] == "TWICE-1"]
    assert "open" in hutong("case", "get", found["name"]).stdout
    officer = "supervisors/410100/li"
    assert officer in hutong("case", "assign", found["name"], "--officer", officer).stdout
    concluded = hutong("case", "conclude", found["name"], "genuine", "--note", "two documents of one person").stdout
    assert "Finding: genuine" in concluded
    assert "two documents" in concluded
    text = hutong("case", "list", "--officer", officer, "--finding", "genuine").stdout
    assert "TWICE-1" in text
    table = tmp_path / "cases.csv"
    hutong("case", "list", "--officer", officer, "--csv", str(table))
    (line,) = csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines())
    assert (line["report"], line["finding"], line["concluded"][:2]) == ("TWICE-1", "genuine", "20")
    again = hutong("case", "conclude", found["name"], "forged", code=ExitCode.FAILED)
    assert "CONFLICT" in again.stderr


POLICY = """\
name: jurisdictions/460200/policies/example-school
title: Schools of Sanya, an example
purposes: [PURPOSE_SCHOOL]
test_required:
  window: {duration: 172800s, basis: VALIDITY_BASIS_REPORT_TIME}
effective_start_time: "2022-08-20T00:00:00+08:00"
effective_end_time: "2022-08-21T00:00:00+08:00"
retroactive_reason: an example
"""


def test_policy_is_shown_and_withdrawn(hutong: Shell, tmp_path: Path) -> None:
    """The command asks first; a dry run withdraws nothing."""
    (tmp_path / "school.yaml").write_text(POLICY, encoding="utf-8")
    hutong("policy", "apply", "-f", str(tmp_path), "--yes")
    name = "jurisdictions/460200/policies/example-school@1"
    assert "Asks for: a negative of 48 h from report time" in hutong("policy", "get", name).stdout
    withdraw = ("policy", "withdraw", name, "--reason", "repealed")
    assert "would be withdrawn" in hutong(*withdraw, "--dry-run").stdout
    assert "--yes" in hutong(*withdraw, code=ExitCode.USAGE).stderr
    assert "withdraw_time" not in hutong.json("policy", "get", name)
    done = hutong(*withdraw, "--yes")
    assert f"{name}: withdrawn" in done.stdout
    assert "answers change now" in done.stderr
    assert hutong.json("policy", "get", name)["withdraw_reason"] == "repealed"
    assert "ALREADY_WITHDRAWN" in hutong(*withdraw, "--yes", code=ExitCode.FAILED).stderr


def test_refusals_are_listed_with_their_words_and_answers(hutong: Shell) -> None:
    """A long text is cut in the table and shown in full by itself."""
    where = ("--region", "460200", "--purpose", "hotel", "--at", "2022-08-15T20:00:00+08:00")
    words = "they said that only a test of this city counts, " * 3
    report = ("refusal", "report", *where, "--ground", "not-tested-locally", "--statement", words)
    name = hutong.json(*report)["name"]
    answer = "The hotel was told."
    assert "open" in hutong("refusal", "list", "--region", "460200").stdout
    hutong("refusal", "answer", name, answer)
    (line,) = hutong("refusal", "list", "--region", "460200").stdout.splitlines()[1:]
    assert "they said that only a test of this city counts, they said t…" in line
    assert answer in line
    shown = hutong("refusal", "get", name).stdout
    assert " ".join(words.split()) in " ".join(shown.split())
    assert answer in shown
    assert hutong.json("refusal", "get", name)["answer"] == answer
    unknown = "refusals/0190a5e2-7c00-7000-8000-000000000001"
    assert "NOT_FOUND" in hutong("refusal", "get", unknown, code=ExitCode.FAILED).stderr
