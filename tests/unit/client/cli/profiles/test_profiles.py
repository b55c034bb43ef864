"""Profiles of source systems: guessed from a first file, confirmed, kept, and used by an upload."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.kept.store import VARIABLE
from hutong_client.cli.main import run
from hutong_client.cli.profiles.profile import PROFILES, read_profile

from tests.support.client.fake_uploads import FakeUploads, serving
from tests.support.client.laboratory_files import CARDS, line, write_workbook
from tests.support.pages import block

LAB = "91220502MA000LAB8G"
TITLES = ("受检人员名", "身份证明", "证件类型", "采集登记", "审批", "判读", "单号", "备注", "采样地区")
COLUMNS = ("name", "card_no", "card_type", "sample_date", "report_date", "nat_result", "report_no", "", "sample_region")


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of settings of the test's own."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "settings"))
    return tmp_path / "settings"


@pytest.fixture
def fake() -> FakeUploads:
    return FakeUploads()


@pytest.fixture
def address(fake: FakeUploads) -> Iterator[str]:
    with serving(fake) as address:
        yield address


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """A file of a system with titles of its own. Its times have no zone, and its last row has none."""
    path = tmp_path / "day.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(TITLES)
        for number in range(6):
            row = line(number, sample_date="2022-08-09 06:00", report_date="2022-08-09 12:00") | {"": "无"}
            writer.writerow([row[column] for column in COLUMNS])
        writer.writerow(["赵示例", CARDS[0], "居民身份证", "昨天", "2022-08-09 12:00", "阴性", "R00009", "", "220502"])
    return path


def create(day: Path, *options: str) -> int:
    return run(["profile", "create", "lis", str(day), "--lab", LAB, *options])


def test_profile_is_guessed_kept_and_used(
    day: Path, address: str, fake: FakeUploads, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Titles by their cells, the zone, the address. The rejected row comes back with names that every upload knows."""
    page = block("clients/python/README.md", "sh", "hutong profile create")
    shown = page.replace("127.0.0.1:50051", address).replace("next-day.xlsx", str(day)).replace("day.xlsx", str(day))
    creating, uploading = (shlex.split(line)[1:] for line in shown.splitlines())
    assert run([*creating, "--yes"]) == ExitCode.DONE
    assert "guessed from its cells" in capsys.readouterr().out
    kept = read_profile("lis")
    assert kept.lab == f"labs/{LAB}"
    assert (kept.timezone, kept.region, kept.results) == ("Asia/Shanghai", "", address)
    assert sorted(kept.columns) == sorted(
        f"{title}={column}"
        for title, column in zip(TITLES, COLUMNS, strict=True)
        if column not in {"", "card_type", "sample_region"}
    )
    assert (settings / "profiles/lis.yaml").stat().st_mode & 0o077 == 0
    assert run(uploading) == ExitCode.PARTLY
    assert len(fake.tubes) == 6
    rejects = day.with_name("day.csv.rejects.csv").read_text(encoding="utf-8-sig")
    assert {"card_no", "report_no", "备注"} <= {*rejects.splitlines()[0].split(",")}
    assert len(rejects.splitlines()) == 2


def test_columns_may_be_said(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A known title that means something else, and one to leave out. JSON has the profile."""
    assert create(day, "--column", "备注=sample_orgname", "--column", "证件类型=-", "--yes", "--json") == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert told["name"] == "lis"
    assert told["columns"][:2] == ["备注=sample_orgname", "证件类型=-"]
    assert run(["profile", "show", "lis", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["columns"] == told["columns"]
    assert create(day, "--column", "备注=nonsense", "--yes") == ExitCode.USAGE


def test_region_is_that_of_the_laboratory_if_the_file_has_none(tmp_path: Path) -> None:
    """Items that the file names are admitted."""
    rows = [line(number, check_project="新冠病毒抗原检测") for number in range(2)]
    header = [name for name in rows[0] if name != "sample_region"]
    book = write_workbook(tmp_path / "day.xlsx", [header, *([row[name] for name in header] for row in rows)])
    assert create(book, "--yes") == ExitCode.DONE
    kept = read_profile("lis")
    assert (kept.region, kept.timezone) == ("220502", "")
    assert kept.items == ["items/sars-cov-2-antigen"]


def test_profile_is_not_kept_unasked(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A profile is not stored either if a needed column stays unknown."""
    assert create(day) == ExitCode.USAGE
    assert "--yes" in capsys.readouterr().err
    assert create(day, "--column", "判读=-", "--yes") == ExitCode.USAGE
    assert "nat_result" in capsys.readouterr().err
    assert PROFILES.names() == []


def test_options_that_are_given_come_first(day: Path, address: str, fake: FakeUploads) -> None:
    """The profile's address is not called."""
    assert create(day, "--results", "127.0.0.1:1", "--yes") == ExitCode.DONE
    assert run(["upload", str(day), "--profile", "lis", "--results", address]) == ExitCode.PARTLY
    assert len(fake.tubes) == 6


def test_profiles_are_listed_and_removed(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown one is named with those that exist."""
    assert create(day, "--yes") == ExitCode.DONE
    capsys.readouterr()
    assert run(["profile", "list", "--json"]) == ExitCode.DONE
    (told,) = json.loads(capsys.readouterr().out)["profiles"]
    assert (told["name"], told["lab"]) == ("lis", f"labs/{LAB}")
    assert run(["upload", str(day), "--profile", "other"]) == ExitCode.USAGE
    assert "lis" in capsys.readouterr().err
    assert run(["profile", "remove", "lis", "--yes"]) == ExitCode.DONE
    assert run(["profile", "show", "lis"]) == ExitCode.USAGE


@pytest.mark.parametrize("text", ["- a list\n", "lab: [1]\n", "unknown: x\n", "{", "columns: text\n"])
def test_damaged_profile_is_refused(settings: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error contains the name of the profile."""
    (settings / "profiles").mkdir(parents=True)
    (settings / "profiles/lis.yaml").write_text(text, encoding="utf-8")
    assert run(["profile", "show", "lis"]) == ExitCode.USAGE
    assert "lis" in capsys.readouterr().err


def test_names_are_no_paths(day: Path) -> None:
    """A name leads neither to another folder nor to a hidden file."""
    for name in ("../lis", ".lis", "a/b", ""):
        assert run(["profile", "create", name, str(day), "--lab", LAB, "--yes"]) == ExitCode.USAGE


def test_upload_without_a_laboratory_is_refused(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names both ways to name a laboratory."""
    assert run(["upload", str(day)]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "--lab" in error
    assert "--profile" in error
