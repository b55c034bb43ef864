"""`hutong timeliness` against a real node."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hutong_client.cli.exit_codes import ExitCode

from clients.examples import generate_day
from clients.examples.day import LAB
from tests.support.client.command_line import Shell

DATE = date(2022, 8, 18)
"""The tests of this package share a node. No other test uploads reports of this day."""
DAY = ("--from", "2022-08-18T00:00:00+08:00", "--to", "2022-08-19T00:00:00+08:00")


@pytest.fixture(scope="module")
def hutong(hutong: Shell, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The node of the package, with 200 reports of the day."""
    file = tmp_path_factory.mktemp("timeliness") / "day.csv"
    generate_day.write_day(generate_day.generate_day(people=200, wrong=0, seed=7, on=DATE), file)
    hutong("upload", str(file), "--lab", LAB)
    return hutong


def test_timeliness_is_printed_for_a_laboratory(hutong: Shell) -> None:
    """A day of 2022 that is uploaded now is late."""
    (told,) = hutong.json("timeliness", "--lab", LAB, *DAY)["timeliness"]
    assert told["result_count"] == told["late_count"] == "200"
    table = hutong("timeliness", "--region", "220000", *DAY).stdout.splitlines()
    assert "upload p50" in table[0]
    assert [line.split()[0] for line in table[1:]] == ["220000", f"labs/{LAB}"]
    assert "100.0%" in table[2]


def test_timeliness_is_grouped_and_written_to_files(hutong: Shell, tmp_path: Path) -> None:
    """Rows are by city and by day, with the names of regions in Chinese, as CSV and as a workbook."""
    rows = hutong.json("timeliness", "--region", "000000", *DAY, "--group", "city")["timeliness"]
    whole_row, *cities = (row["region"] for row in rows)
    assert whole_row == "000000"
    assert "220500" in cities
    several = hutong.json("timeliness", "--region", "000000", *DAY, "--group", "lab", "--group", "province")[
        "timeliness"
    ]
    groups = [row["grouping"].removeprefix("TIMELINESS_GROUPING_") for row in several]
    assert (groups[0], {*groups}) == ("WHOLE", {"WHOLE", "PROVINCE", "LAB"})
    csv_file, workbook, page = (tmp_path / f"late.{kind}" for kind in ("csv", "xlsx", "html"))
    files = ("--csv", str(csv_file), "--xlsx", str(workbook), "--html", str(page))
    hutong("timeliness", "--region", "220000", *DAY, "--group", "city", "--by", "day", *files)
    header, whole, tonghua = csv_file.read_text(encoding="utf-8-sig").splitlines()
    assert header.startswith("subject,name,group,from,results,late,share,")
    assert whole.startswith("220000,吉林省,whole,2022-08-18 00:00:00,200,200,1,")
    assert tonghua.startswith("220500,吉林省通化市,city,2022-08-18 00:00:00,200,200,1,")
    assert workbook.stat().st_size
    assert "通化" in page.read_text(encoding="utf-8") or "220500" in page.read_text(encoding="utf-8")
    silent = hutong("timeliness", "--region", "220000", *DAY, "--silent-after-hours", "0.0001").stdout.splitlines()
    assert "silent since" in silent[0]
    hutong("timeliness", "--lab", LAB, *DAY, "--csv", str(csv_file), "--json", code=ExitCode.USAGE)


def test_timeliness_is_a_page_for_a_supervisor(hutong: Shell, tmp_path: Path) -> None:
    """A page covers a region, or one laboratory by its name. A file that cannot be written is reported."""
    page = tmp_path / "page.html"
    for whose in (("--region", "220000"), ("--lab", LAB)):
        assert str(page) in hutong("timeliness", *whose, *DAY, "--html", str(page)).stderr
        text = page.read_text(encoding="utf-8")
        assert "Timeliness of reports" in text
        assert "200 of 200" in text
        assert "2022-08-18 00:00 to 2022-08-19 00:00" in text
    assert "吉林" not in text
    hutong("timeliness", "--lab", LAB, *DAY, "--html", str(page), "--json", code=ExitCode.USAGE)
    nowhere = tmp_path / "nowhere" / "page.html"
    told = hutong("timeliness", "--lab", LAB, *DAY, "--html", str(nowhere), code=ExitCode.USAGE)
    assert str(nowhere) in told.stderr


def test_timeliness_asks_for_one_subject(hutong: Shell) -> None:
    """The command refuses both options together, and none of them. A refusal by the service names its reason."""
    hutong("timeliness", *DAY, code=ExitCode.USAGE)
    hutong("timeliness", "--lab", LAB, "--region", "220000", *DAY, code=ExitCode.USAGE)
    assert "REGION_UNKNOWN" in hutong("timeliness", "--region", "990000", *DAY, code=ExitCode.FAILED).stderr
    options = ("--lab", LAB, *DAY, "--late-after-hours")
    assert hutong.json("timeliness", *options, "8760")["timeliness"][0]["late_count"] == "200"
    assert "late_threshold" in hutong("timeliness", *options, "100000000", code=ExitCode.FAILED).stderr
