"""The commands of `hutong` against a real node: three processes, one small day, the sample policies."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hutong_client.cli.exit_codes import ExitCode
from openpyxl import Workbook, load_workbook

from clients.examples import generate_day
from clients.examples.day import LAB
from tests.support.client.command_line import Shell
from tests.support.client.laboratory_formats import ENGLISH, TITLES, card, members, person, plus, xlsx
from tests.support.client.laboratory_formats import csv as csv_file
from tests.support.pages import block
from tests.support.processes import run, started
from tests.support.waiting import TIMEOUT_SECONDS, wait_until

UNKNOWN_CARD = "410105186001010019"
PLACE = ("--region", "410105", "--purpose", "hotel", "--arriving-from", "220500")


def test_lookup_shows_masks_and_where_it_looked(hutong: Shell, who: tuple[str, ...]) -> None:
    """The report, readable and as JSON; an unknown person is no failure."""
    name = f"labs/{LAB}/results/{hutong.traveller['report_no']}"
    assert name in hutong("lookup", *who, stdin=hutong.traveller["card_no"]).stdout
    (result,) = hutong.json("lookup", *who, stdin=hutong.traveller["card_no"])["in_region"]
    assert result["name"] == name
    assert result["masked_number"].count("*") >= 10
    assert "does not mean" in hutong("lookup", "--number", UNKNOWN_CARD).stdout
    of_item = (*who, "--item", "sars-cov-2-antigen")
    assert "does not mean" in hutong("lookup", *of_item, stdin=hutong.traveller["card_no"]).stdout
    both = (*of_item, "--item", "sars-cov-2-nucleic-acid")
    assert "sars-cov-2-nucleic-acid" in hutong("lookup", *both, stdin=hutong.traveller["card_no"]).stdout


def test_lab_is_listed_and_its_standing_changed(hutong: Shell) -> None:
    """A report is printed with its history. An unknown one is a failed call."""
    other = "91210500MA000LAB8F"
    hutong("lab", "create", other, "--display-name", "本溪示例检验所", "--region", "210500")
    changed = hutong.json("lab", "set-standing", other, "warned", "--reason", "an example")
    assert changed["standing"] == "LAB_STANDING_WARNED"
    assert "an example" in hutong("lab", "get", f"labs/{other}").stdout
    listed = hutong.json("lab", "list", "--name", "本溪 示例检验所")["labs"]
    assert [it["name"] for it in listed] == [f"labs/{other}"]
    assert hutong.json("lab", "list", "--prefix", "本溪", "--region", "220000").get("labs", []) == []
    listed = hutong.json("lab", "list", "--region", "210000")["labs"]
    assert [lab["name"] for lab in listed] == [f"labs/{other}"]
    assert "NOT_FOUND" in hutong("lab", "get", "91110000MA000LAB06", code=ExitCode.FAILED).stderr


@pytest.mark.parametrize(
    ("place", "day", "code", "told"),
    [
        (PLACE, "2022-08-10", ExitCode.DONE, "RECOGNIZED, VALID until 2022-08-11"),
        (PLACE, "2022-08-20", ExitCode.NOT_RECOGNIZED, "NOT RECOGNIZED, EXPIRED since 2022-08-11"),
        (("--region", "460200", "--purpose", "hotel"), "2022-08-10", ExitCode.UNDETERMINED, "NO_POLICY_IN_FORCE"),
        (("--region", "410105", "--purpose", "hotel"), "2022-12-08", ExitCode.DONE, "NOT REQUIRED"),
    ],
)
def test_decision_is_explained_and_is_the_exit_code(
    hutong: Shell, who: tuple[str, ...], place: tuple[str, ...], day: str, code: ExitCode, told: str
) -> None:
    """The explanation is for people, and the exit code is for a gate's script."""
    use = ("--use-time", f"{day}T23:00:00+08:00")
    text = hutong("verify", *who, *place, *use, stdin=hutong.traveller["card_no"], code=code).stdout
    assert told in text
    decision = hutong.json("verify", *who, *place, *use, stdin=hutong.traveller["card_no"], code=code)
    assert decision["use_time"] == f"{day}T15:00:00Z"


def test_one_number_is_one_person_under_every_label(hutong: Shell, tmp_path: Path) -> None:
    """A clerk filed a residence permit and a foreign resident's card as 身份证; the positives govern every question."""
    numbers = {"810000186001010024": "港澳台居民居住证", "911100186001010024": "外国人永久居留身份证"}
    rows = ["姓名,证件类型,证件号码,采样时间,检测结果,报告时间,报告编号,采样地区"]
    for number, label in numbers.items():
        rows.append(f"示例,身份证,{number},2022-08-12 06:00:00,阳性,2022-08-12 12:00:00,P{number[:4]},220502")
        rows.append(f"示例,{label},{number},2022-08-12 05:00:00,阴性,2022-08-12 11:00:00,N{number[:4]},220502")
    file = tmp_path / "labels.csv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    counts = hutong.json("upload", str(file), "--lab", LAB, "--timezone", "Asia/Shanghai")
    assert (counts["accepted"], counts["rejected"]) == (4, 0)
    use = ("--use-time", "2022-08-13T06:00:00+08:00")
    for number, label in numbers.items():
        for named in ("resident-id-card", label, "other"):
            who = ("--type", named, "--number", "-")
            told = hutong("verify", *who, *PLACE, *use, stdin=number, code=ExitCode.NOT_RECOGNIZED).stdout
            assert "POSITIVE_RESULT" in told


def test_districts_founded_in_2021_are_regions(hutong: Shell, tmp_path: Path) -> None:
    """A row from Linping and one from Qiantang are accepted, and both districts ask."""
    rows = ["姓名,身份证号,采样时间,检测结果,报告时间,报告编号,采样地区"]
    districts = {"330113": "330113186001010035", "330114": "330114186001010031"}
    for region, number in districts.items():
        rows.append(f"示例,{number},2022-08-12 06:00:00,阴性,2022-08-12 12:00:00,D{region},{region}")
    file = tmp_path / "hangzhou.csv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    counts = hutong.json("upload", str(file), "--lab", LAB, "--timezone", "Asia/Shanghai")
    assert (counts["accepted"], counts["rejected"]) == (2, 0)
    use = ("--use-time", "2022-08-13T06:00:00+08:00")
    for region, number in districts.items():
        place = ("--region", region, "--purpose", "public-venue")
        assert "RECOGNIZED" in hutong("verify", "--number", "-", *place, *use, stdin=number).stdout


def test_decision_names_its_rule_with_its_title(hutong: Shell, who: tuple[str, ...]) -> None:
    """A checker can explain the answer to the person."""
    use = ("--use-time", "2022-08-10T23:00:00+08:00")

    def is_named() -> bool:
        text = hutong("verify", *who, *PLACE, *use, stdin=hutong.traveller["card_no"]).stdout
        assert "Policy: jurisdictions/410000/policies/recognition-from-outside@1" in text
        return "@1 “Henan" in text

    # The answer does not wait for a title that is late, as it may be on a busy machine.
    wait_until(is_named)


def test_people_of_a_file_are_decided_row_by_row(hutong: Shell, tmp_path: Path) -> None:
    """A faulty row harms no other. The exit code shows it."""
    traveller = hutong.traveller["card_no"]
    wrong = traveller[:17] + ("1" if traveller[17] != "1" else "2")
    people = tmp_path / "people.csv"
    people.write_text(f"card_no\n{traveller}\n{wrong}\n{UNKNOWN_CARD}\n", encoding="utf-8")
    use = ("--use-time", "2022-08-10T23:00:00+08:00")
    lines = hutong("verify", str(people), *PLACE, *use, code=ExitCode.PARTLY).stdout.splitlines()
    assert re.match("LET IN +2: RECOGNIZED", lines[0])
    assert re.match("ASK AGAIN +3: then let in; ERROR, BAD_DOCUMENT_NUMBER", lines[1])
    assert re.match("MAY BE REFUSED +4: NOT RECOGNIZED, NO_RESULT", lines[2])
    assert lines[3].startswith("3 people: ")


def test_gate_gets_its_answer_before_it_asks_again(hutong: Shell) -> None:
    """The pipe stays open; each line is answered at once."""
    question = {"document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": UNKNOWN_CARD}}
    command = [sys.executable, "-m", "hutong_client", "verify", "-", *PLACE, "--json"]
    command += ["--use-time", "2022-08-10T23:00:00+08:00"]
    pipe = subprocess.PIPE
    with started(command, env=hutong.environment, stdin=pipe, stdout=pipe, text=True) as gate:
        assert gate.stdin
        assert gate.stdout
        for mark in ("first", "second", "third"):
            gate.stdin.write(json.dumps({"correlation_id": mark, "request": question}) + "\n")
            gate.stdin.flush()
            answer = json.loads(gate.stdout.readline())
            assert answer["correlation_id"] == mark
            assert answer["decision"]["reason"] == "DECISION_REASON_NO_RESULT"
        gate.stdin.close()
        assert gate.wait(TIMEOUT_SECONDS) == ExitCode.NOT_RECOGNIZED


def test_gate_whose_answers_nobody_reads_ends_quietly(hutong: Shell) -> None:
    """`hutong verify - | head -1` says nothing on standard error."""
    command = [sys.executable, "-m", "hutong_client", "verify", "-", *PLACE]
    command += ["--use-time", "2022-08-10T23:00:00+08:00"]
    pipe = subprocess.PIPE
    with started(command, env=hutong.environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as gate:
        assert gate.stdin
        assert gate.stdout
        assert gate.stderr
        gate.stdin.write(f"{UNKNOWN_CARD}\n")
        gate.stdin.flush()
        assert gate.stdout.readline()
        gate.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            gate.stdin.write(f"{UNKNOWN_CARD}\n" * 2)
            gate.stdin.close()
        assert gate.stderr.read() == ""
        gate.wait(TIMEOUT_SECONDS)


def test_workbook_and_ndjson_say_the_same_as_the_csv(hutong: Shell, tmp_path: Path) -> None:
    """Every row of the day, in another format, is a duplicate down to the last field."""
    rows = [asdict(it.row) for it in generate_day.generate_day(people=200, wrong=0, seed=5)]
    book = Workbook()
    book.worksheets[0].append(list(rows[0]))
    for row in rows:
        book.worksheets[0].append(list(row.values()))
    book.save(tmp_path / "day.xlsx")
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "day.ndjson").write_text("\n".join(lines), encoding="utf-8")
    for name in ("day.xlsx", "day.ndjson"):
        told = hutong.json("upload", str(tmp_path / name), "--lab", LAB)
        assert (told["accepted"], told["duplicates"], told["rejected"]) == (0, 200, 0)


def test_thousands_of_identical_rows_are_stored_once(hutong: Shell, tmp_path: Path) -> None:
    """A laboratory's export ran wild: one result, the others are duplicates."""
    (row,) = (asdict(it.row) for it in generate_day.generate_day(people=1, wrong=0, seed=6))
    row |= {"report_no": "WILD-1", "tube_code": "WILD"}
    path = tmp_path / "day.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows([row] * 4_000)
    told = hutong.json("upload", str(path), "--lab", LAB)
    assert (told["accepted"], told["duplicates"], told["rejected"]) == (1, 3_999, 0)


def test_example_of_the_readme_runs(hutong: Shell) -> None:
    """The README's example runs against the node that the environment names."""
    done = run([sys.executable, "-c", block("clients/python/README.md", "python")], env=hutong.environment)
    assert done.returncode == 0, done.stderr
    assert "outcome: DECISION_OUTCOME_" in done.stdout


def test_report_that_is_shown_and_has_no_record_is_chased_until_it_comes_in(hutong: Shell, tmp_path: Path) -> None:
    """Missing reports are listed as text and as JSON, without anything about the holder."""
    lab = "91370100MA000LAB0H"
    assert "No report is missing" in hutong("missing-reports", "--lab", lab).stdout
    shown = f"channel=paper-report,lab=labs/{lab},report_number=JN-0001,report_time=2022-08-10T08:00:00+08:00"
    shown += ",sample_time=2022-08-10T01:00:00+08:00"
    use = ("--use-time", "2022-08-10T23:00:00+08:00")
    hutong(
        "verify", "--number", UNKNOWN_CARD, *PLACE, *use, "--evidence", f"{shown},sample_time=2022-08-10T01:00:00+08:00"
    )
    wait_until(lambda: bool(hutong.json("missing-reports", "--lab", lab)["missing_reports"]))
    found = hutong.json("missing-reports", "--lab", lab)["missing_reports"]
    assert [(it["lab"], it["report_number"]) for it in found] == [(f"labs/{lab}", "JN-0001")]
    table = tmp_path / "missing.csv"
    hutong("missing-reports", "--lab", lab, "--csv", str(table))
    assert table.read_text(encoding="utf-8-sig").splitlines()[1].startswith(f"labs/{lab},,,JN-0001,")
    hutong("lab", "create", lab, "--display-name", "Jinan", "--region", "370100", "--contact", "0531-1234567")
    assert " Jinan " in hutong("missing-reports", "--lab", lab).stdout
    hutong("missing-reports", "--lab", lab, "--csv", str(table))
    assert f"labs/{lab},Jinan,0531-1234567,JN-0001," in table.read_text(encoding="utf-8-sig")
    assert "contact: 0531-7654321" in hutong("lab", "update", lab, "--contact", "0531-7654321").stdout
    assert hutong.json("missing-reports", "--lab", lab)["missing_reports"][0]["lab_contact"] == "0531-7654321"
    assert "contact" not in hutong("lab", "update", lab, "--contact", "", "--display-name", "Jinan").stdout
    denied = hutong("answer-missing-report", found[0]["name"], "not-ours").stdout
    assert denied == f"labs/{lab}/missingReports/JN-0001: not ours\n"
    assert hutong.json("missing-reports", "--lab", lab)["missing_reports"] == []
    expected = ("--expected", f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}")
    answered = hutong.json("answer-missing-report", found[0]["name"], "to-follow", *expected)
    assert answered["lab_answer"]["answer"] == "MISSING_REPORT_ANSWER_TO_FOLLOW"
    text = hutong("missing-reports", "--all").stdout
    assert "JN-0001" in text
    assert "to follow" in text
    assert UNKNOWN_CARD not in text


def test_paper_that_was_shown_goes_with_a_report_of_refusal(hutong: Shell) -> None:
    """The person has no record, and only the evidence shown entitled them."""
    where = ("--purpose", "hotel", "--at", "2022-08-10T23:00:00+08:00")
    report = ("refusal", "report", "--number", UNKNOWN_CARD, *where, "--ground", "expired")
    shown = "channel=paper-report,lab=labs/91370100MA000LAB0H,report_number=JN-0002"
    shown += ",sample_time=2022-08-10T01:00:00+08:00,report_time=2022-08-10T08:00:00+08:00"
    first = hutong.json(*report, "--region", "410106", "--evidence", shown)
    assert first["assessment"] == "REFUSAL_ASSESSMENT_UNLAWFUL"
    by_name = (
        "channel=paper-report,lab_name=通化 示例检验所,report_number=TH-0002,report_time=2022-08-10T08:00:00+08:00"
    )
    second = hutong.json(*report, "--region", "410104", "--evidence", by_name)
    assert second["assessment"] == "REFUSAL_ASSESSMENT_UNLAWFUL"
    assert hutong.json(*report, "--region", "410103")["assessment"] != "REFUSAL_ASSESSMENT_UNLAWFUL"
    # The same person, region, purpose and day is the same report.
    assert hutong.json(*report, "--region", "410106") == first
    tracked = hutong("refusal", "track", first["code"]).stdout
    assert first["name"] in tracked
    assert "answered by nodes/000000 until" in tracked


def test_a_report_of_refusal_may_say_where_the_person_came_from(hutong: Shell) -> None:
    """25 hours after the report, Tonghua may refuse people of its own province alone. Not told is not known."""
    where = ("--purpose", "enter-jurisdiction", "--at", "2022-08-10T23:00:00+08:00")
    shown = (
        "channel=paper-report,lab=labs/91370100MA000LAB0H,report_number=JN-0003,report_time=2022-08-09T22:00:00+08:00"
    )
    report = ("refusal", "report", "--number", UNKNOWN_CARD, *where, "--ground", "expired", "--evidence", shown)
    assessments = [
        hutong.json(*report, "--region", region, *origin)["assessment"].removeprefix("REFUSAL_ASSESSMENT_")
        for region, *origin in (
            ("220502",),
            ("220503", "--arriving-from", "370200"),
            ("220521", "--arriving-from", "220100"),
        )
    ]
    assert assessments == ["UNLAWFUL", "UNLAWFUL", "NOT_UNLAWFUL"]


def test_refusal_is_reported_assessed_answered_and_counted(hutong: Shell, who: tuple[str, ...], tmp_path: Path) -> None:
    """A reported refusal reaches the supervisor's table."""
    when = "2022-08-10T23:00:00+08:00"
    report = ("refusal", "report", *who, "--region", "410105", "--purpose", "hotel", "--at", when, "--venue", "a hotel")
    reported = hutong.json(*report, "--ground", "not-tested-locally", stdin=hutong.traveller["card_no"])
    assert reported["assessment"] == "REFUSAL_ASSESSMENT_UNLAWFUL"
    text = hutong(*report, "--ground", "not-tested-locally", stdin=hutong.traveller["card_no"]).stdout
    assert "Forbidden there: not tested locally" in text
    answered = hutong("refusal", "answer", reported["name"], "The hotel was told.").stdout
    assert "The hotel was told." in answered
    still_open = hutong.json("refusal", "list", "--region", "410000", "--state", "open")["refusals"]
    assert reported["name"] not in [it["name"] for it in still_open]
    assert hutong.json("refusal", "list", "--overdue")["refusals"] == []
    assert "a hotel" in hutong("refusal", "list").stdout
    listed, as_book = tmp_path / "list.csv", tmp_path / "list.xlsx"
    hutong("refusal", "list", "--region", "410105", "--csv", str(listed), "--xlsx", str(as_book))
    (line,) = csv.DictReader(listed.read_text(encoding="utf-8-sig").splitlines())
    assert (line["purpose"], line["state"], line["answer"]) == ("hotel", "answered", "The hotel was told.")
    assert (line["answered by"], line["due"][:2]) == (reported["responsible_node"], "20")
    assert "The hotel was told." in [cell.value for cell in load_workbook(as_book).worksheets[0][2]]
    span = ("--region", "410105", "--from", "2022-08-01T00:00:00+08:00", "--to", "2022-09-01T00:00:00+08:00")
    rows = hutong.json("refusal", "summary", *span)["refusal_summaries"]
    assert [(row["region"], row["total"]["refusal_count"], row["total"]["unlawful_count"]) for row in rows] == [
        ("410105", "1", "1")
    ]
    assert "not tested locally" in hutong("refusal", "summary", *span, "--by", "month").stdout
    page = tmp_path / "page.html"
    assert str(page) in hutong("refusal", "summary", *span, "--html", str(page)).stderr
    page_text = page.read_text(encoding="utf-8")
    assert "河南 Henan" in page_text
    assert "1 · 1 unlawful" in page_text
    assert "1 of 1 assessed are unlawful" in page_text
    for other in (["--json"], ["--group", "city"], ["--unanswered"]):
        hutong("refusal", "summary", *span, "--html", str(page), *other, code=ExitCode.USAGE)
    grouped = hutong.json("refusal", "summary", *span, "--group", "city", "--group", "venue-kind")["refusal_summaries"]
    assert [(row["grouping"], row["rates"]["unlawful_share"]) for row in grouped] == [
        ("REFUSAL_GROUPING_CITY", 1.0),
        ("REFUSAL_GROUPING_VENUE_KIND", 1.0),
    ]
    assert hutong.json("refusal", "summary", *span, "--unanswered")["refusal_summaries"] == []
    chinese = hutong("refusal", "summary", *span, "--group", "市", "--lang", "zh").stdout
    assert "河南省郑州市金水区 410105" in chinese
    assert "100.0%" in chinese
    table, book = tmp_path / "refusals.csv", tmp_path / "refusals.xlsx"
    hutong("refusal", "summary", *span, "--group", "whole", "--csv", str(table), "--xlsx", str(book))
    titles, total, *_ = csv.reader(table.read_text(encoding="utf-8-sig").splitlines())
    row = dict(zip(titles, total, strict=True))
    assert (row["region"], row["reports"], row["unlawful share"], row["open"]) == ("410105", "1", "1", "0")
    cells = [cell.value for cell in load_workbook(book).worksheets[0][2]]
    assert cells[titles.index("unlawful share")] == 1
    notice = ("notice", "draft", "--region", "410100", *span[2:])
    text = hutong(*notice, "--lang", "zh").stdout
    assert text.startswith("关于河南省郑州市检测结果互认情况的通报\n")
    assert "河南省郑州市金水区：已评定 1 件，其中违规 1 件，占 100.0%。" in text
    assert not any(words in text for words in ("a hotel", "The hotel was told."))
    # Other tests may have reported refusals in the city too.
    assert re.search(r"\b1 of \d+ \(\d+\.\d%\) are answered", hutong(*notice).stdout)
    assert hutong.json(*notice)["sections"][0]["heading"] == "Reported refusals of valid results"


def counted(hutong: Shell, file: Path, *options: str, code: ExitCode = ExitCode.DONE) -> tuple[int, int]:
    """Upload a file and return the numbers of accepted and of rejected persons."""
    arguments = ("upload", str(file), "--lab", LAB, "--timezone", "Asia/Shanghai", "--region", "220502")
    told = hutong.json(*arguments, *options, code=code)
    return told["accepted"], told["rejected"]


def test_members_of_a_positive_pool_are_never_positive_persons(hutong: Shell, tmp_path: Path) -> None:
    """The code stands once. 混管阳性 is stored for the pool, and 阳性 of a pool is stored for no member."""
    pool = [TITLES, *members("POS-1", 10, 4, first=501, result="混管阳性")]
    assert counted(hutong, xlsx(("结果", pool), merged=["F2:F5", "G2:G5"])(tmp_path)) == (4, 0)
    (result,) = hutong.json("lookup", "--number", card(503))["in_region"]
    assert (result["outcome"], result["tube_code"]) == ("OUTCOME_POOL_POSITIVE", "POS-1")
    single = csv_file([TITLES, *members("POS-2", 10, 4, first=511, result="阳性")])(tmp_path)
    assert counted(hutong, single, code=ExitCode.PARTLY) == (0, 4)
    assert hutong.json("lookup", "--number", card(513)).get("in_region", []) == []


def test_all_sheets_are_uploaded_and_hidden_ones_are_told(hutong: Shell, tmp_path: Path) -> None:
    """A rejected row of the second sheet is reported with its sheet."""
    morning, evening = [TITLES, person(521)], [TITLES, person(522), person(523, result="作废")]
    file = xlsx(("上午", morning), ("下午", evening), ("旧", [TITLES, person(524)]), hidden=["旧"])(tmp_path)
    told = hutong("upload", str(file), "--lab", LAB, "--timezone", "+08:00", "--region", "220502", code=ExitCode.PARTLY)
    assert "accepted 2, duplicates 0, rejected 1" in told.stdout
    assert "The hidden sheet 旧 was not read" in told.stderr
    (sheet,) = load_workbook(file.with_name("day.xlsx.rejects.xlsx")).worksheets
    assert [row[0] for row in sheet.iter_rows(min_row=2, values_only=True)] == ["下午!3"]


def test_antigen_is_stored_only_if_it_is_admitted(hutong: Shell, tmp_path: Path) -> None:
    """A rejected row does not use up its report number; the item of a tube reaches the node with --item."""
    rows = plus("检测项目", "新冠病毒抗原检测", "新冠病毒核酸检测", rows=[person(531), person(532)])
    file = csv_file(rows)(tmp_path)
    assert counted(hutong, file, code=ExitCode.PARTLY) == (1, 1)
    with file.with_name("day.csv.rejects.csv").open(encoding="utf-8-sig", newline="") as rejects:
        (row,) = csv.DictReader(rejects)
    assert (row["reasons"], row["fields"]) == ("ITEM_NOT_ADMITTED", "check_project")


def test_what_a_file_lacks_is_told_once_before_anything_is_sent(hutong: Shell, tmp_path: Path) -> None:
    """Region, report time and zone in one message, with the titles that were not understood."""
    header = [title if title != "报告时间" else "出炉时刻" for title in TITLES]
    told = hutong("upload", str(csv_file([header, person(541)])(tmp_path)), "--lab", LAB, code=ExitCode.USAGE).stderr
    assert all(words in told for words in ("--region", "报告时间", "出炉时刻", "--timezone"))
    names = csv_file([ENGLISH, person(542, result="NEGATIVE", name="葉劉")], "big5")(tmp_path)
    refused = hutong("upload", str(names), "--lab", LAB, "--region", "220502", code=ExitCode.USAGE)
    assert "--encoding" in refused.stderr
    assert counted(hutong, names, "--encoding", "big5") == (1, 0)
