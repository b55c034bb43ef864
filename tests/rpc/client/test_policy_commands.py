"""The commands of `hutong policy` against a real node."""

from __future__ import annotations

from pathlib import Path

from hutong_client.cli.exit_codes import ExitCode

from tests.support.client.command_line import POLICIES, Shell


def test_policies_applied_again_change_nothing(hutong: Shell) -> None:
    """Although several files are revisions of one series."""
    told = hutong.json("policy", "apply", "-f", str(POLICIES), "--yes")["policies"]
    assert {item["action"] for item in told} == {"unchanged"}
    assert "0 to publish" in hutong("policy", "diff", "-f", str(POLICIES)).stdout


BREACHING = """\
name: jurisdictions/410100/policies/example-hotel
title: Zhengzhou hotels, an example
purposes: [PURPOSE_HOTEL]
test_required:
  window: {duration: 86400s, basis: VALIDITY_BASIS_SAMPLE_TIME}
effective_start_time: "2022-08-20T00:00:00+08:00"
retroactive_reason: an example
"""


def test_apply_shows_what_changes_and_asks(hutong: Shell, tmp_path: Path) -> None:
    """Diff and impact first; nothing happens without a yes; a trial publishes nothing."""
    path = tmp_path / "hotel.yaml"
    path.write_text(BREACHING.replace("SAMPLE_TIME", "REPORT_TIME"), encoding="utf-8")
    refused = hutong("policy", "apply", "-f", str(path), stdin="n\n", code=ExitCode.INTERRUPTED)
    assert "+title: Zhengzhou hotels, an example" in refused.stdout
    assert "changes 410100" in refused.stdout
    (trial,) = hutong.json("policy", "apply", "-f", str(path), "--dry-run")["policies"]
    assert trial["action"] == "would be published"
    assert hutong.json("policy", "history", "jurisdictions/410100/policies/example-hotel")["policies"] == []


def test_breach_of_a_floor_is_reported_with_the_floor(hutong: Shell, tmp_path: Path) -> None:
    """The other file of the directory is published all the same; exit code 3."""
    (tmp_path / "1.yaml").write_text(BREACHING, encoding="utf-8")
    (tmp_path / "2.yaml").write_text(
        BREACHING.replace("SAMPLE_TIME", "REPORT_TIME").replace("410100", "410200"), encoding="utf-8"
    )
    told = hutong("policy", "apply", "-f", str(tmp_path), "--yes", code=ExitCode.PARTLY)
    assert "1.yaml: refused, POLICY_BREACH" in told.stderr
    assert "jurisdictions/000000/policies/notice-81@1" in told.stderr
    assert "jurisdictions/410200/policies/example-hotel@1: published" in told.stdout


def test_faulty_file_keeps_all_back(hutong: Shell, tmp_path: Path) -> None:
    """If one policy of a set cannot be read, nothing of the set is sent."""
    (tmp_path / "1.yaml").write_text(BREACHING.replace("SAMPLE_TIME", "REPORT_TIME"), encoding="utf-8")
    (tmp_path / "2.yaml").write_text("title: x\n", encoding="utf-8")
    assert (
        "nothing was published" in hutong("policy", "apply", "-f", str(tmp_path), "--yes", code=ExitCode.USAGE).stderr
    )
    assert hutong.json("policy", "lint", "-f", str(tmp_path), code=ExitCode.PARTLY)["policies"][0]["faults"] == []


def test_rule_of_a_place_is_resolved(hutong: Shell) -> None:
    """The rule, its window and what the floor replaced; no rule is an answer too."""
    at = ("--effective-time", "2022-08-11T10:00:00+08:00")
    beijing = hutong("policy", "resolve", "--region", "110105", "--purpose", "public-venue", *at).stdout
    assert "a negative of 3 calendar days from report time" in beijing
    assert "basis: sample time → report time" in beijing
    former = ("--at", at[1], "--known=now")
    assert hutong("policy", "resolve", "--region", "110105", "--purpose", "public-venue", *former).stdout == beijing
    sanya = hutong.json("policy", "resolve", "--region", "460200", "--purpose", "hotel", *at)
    assert "governing" not in sanya
    assert len(hutong.json("policy", "list", "--jurisdiction", "410000")["policies"]) == 2


AFTER = "2022-12-08T00:00:00+08:00"


def test_the_end_of_a_floor_shows_what_it_lifts_and_what_comes_back(hutong: Shell, tmp_path: Path) -> None:
    """The command shows the floor's overrides and their ends, and a lift also where no policy governs."""
    path = tmp_path / "lift.yaml"
    text = BREACHING.replace("410100", "410000").replace("2022-08-20", "2022-08-21")
    window = "test_required:\n  window: {duration: 86400s, basis: VALIDITY_BASIS_SAMPLE_TIME}\n"
    end = 'effective_end_time: "2022-08-22T00:00:00+08:00"\n'
    path.write_text(text.replace(window, f"not_required: {{}}\nfloor: true\n{end}"), encoding="utf-8")
    told = hutong("policy", "apply", "-f", str(path), "--dry-run").stdout
    floor, lower = "410000/policies/example-hotel@1", "410000/policies/recognition-from-outside@1"
    lifted = "a negative of 48 h from report time → no result"
    assert f"overrides jurisdictions/{lower}: {lifted} from 2022-08-21 00:00:00" in told
    assert f"{floor} overrides jurisdictions/{lower} no longer from 2022-08-22 00:00:00: {lifted}" in told
    sanya = ("policy", "resolve", "--region", "460200", "--purpose", "hotel", "--effective-time", AFTER)
    assert "Lifted by: jurisdictions/000000/policies/no-result-asked@1" in hutong(*sanya).stdout


def test_apply_lists_each_place_and_purpose_with_a_changed_answer(hutong: Shell, tmp_path: Path) -> None:
    """The command lists them before it asks. It also lists what forbids a file at present."""
    path = tmp_path / "hotel.yaml"
    path.write_text(BREACHING.replace("SAMPLE_TIME", "REPORT_TIME"), encoding="utf-8")
    told = hutong("policy", "apply", "-f", str(path), stdin="n\n", code=ExitCode.INTERRUPTED).stdout
    old = "jurisdictions/410000/policies/recognition-within-province@1"
    new = "jurisdictions/410100/policies/example-hotel@1"
    of48, of24 = (f"(a negative of {hours} h from report time)" for hours in (48, 24))
    assert f"hotel.yaml changes 410100, from same province: {old} {of48} → {new} {of24} for hotel" in told
    path.write_text(BREACHING, encoding="utf-8")
    told = hutong("policy", "apply", "-f", str(path), stdin="n\n", code=ExitCode.INTERRUPTED).stdout
    assert "would be refused now, POLICY_BREACH" in told
    assert "联防联控机制综发〔2022〕81号" in told


def test_calendar_of_a_place_through_a_year(hutong: Shell, tmp_path: Path) -> None:
    """The calendar is shown as a table, as JSON and as a page. For an unknown region the call fails."""
    asked = ("policy", "calendar", "--region", "310104", "--year", "2022", "--purpose", "city-transport")
    table = hutong(*asked).stdout
    assert "a negative of 72 h from sample time, or proof of sampling of 24 h" in table
    rows = [line.split() for line in table.splitlines()]
    assert {"2022-07-29", "2022-08-05", "2022-12-07"} <= {word for row in rows for word in row}
    (lane,) = hutong.json(*asked)["lanes"]
    assert lane["purposes"] == ["PURPOSE_CITY_TRANSPORT"]
    governing = [it["effective_policy"].get("governing", "")[-2:] for it in lane["stretches"]]
    assert governing == ["", "@1", "@1", "@2", "@2"]
    assert lane["stretches"][-1]["effective_policy"]["lifting_floor"].endswith("/no-result-asked@1")
    assert "no result, lifted by 000000/policies/no-result-asked@1" in table
    page = tmp_path / "calendar.html"
    hutong(*asked, "--html", str(page))
    assert "72 h" in page.read_text(encoding="utf-8")
    assert "Shanghai: 72 h from the report" in page.read_text(encoding="utf-8")
    hutong(*asked, "--html", str(page), "--json", code=ExitCode.USAGE)
    assert "REGION_UNKNOWN" in hutong("policy", "calendar", "--region", "999999", code=ExitCode.FAILED).stderr
