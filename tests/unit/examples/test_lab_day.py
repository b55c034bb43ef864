"""The day that comes with the project: made by its generator, right where it says so and wrong where it says so."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from stdnum.cn import uscc

from clients.examples import generate_day
from clients.examples.day import COLUMNS, LAB
from services.domain.document import canonical_document
from services.domain.region import is_region, within

EXAMPLES = Path(generate_day.__file__).parent
TYPES = {"居民身份证": 1, "港澳居民来往内地通行证": 2, "台湾居民来往大陆通行证": 3, "港澳台居民居住证": 4}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def wrong() -> dict[int, dict[str, str]]:
    """The listed wrong rows by their line."""
    return {int(row["line"]): row for row in rows(EXAMPLES / "lab-day.wrong.csv")}


@pytest.fixture(scope="module")
def right(wrong: dict[int, dict[str, str]]) -> list[dict[str, str]]:
    """The rows that are not listed as wrong."""
    return [row for line, row in enumerate(rows(EXAMPLES / "lab-day.csv"), start=2) if line not in wrong]


def runs(table: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """Rows that stand together and share a tube."""
    run: list[dict[str, str]] = []
    for row in table:
        if run and row["tube_code"] != run[0]["tube_code"]:
            yield run
            run = []
        run.append(row)
    yield run


def test_committed_day_is_what_the_generator_writes(tmp_path: Path) -> None:
    """Byte for byte, the file and the list of its wrong rows."""
    generate_day.main(["--out", str(tmp_path / "lab-day.csv")])
    for name in ("lab-day.csv", "lab-day.wrong.csv"):
        assert (tmp_path / name).read_bytes() == (EXAMPLES / name).read_bytes(), name


def test_day_is_of_the_size_it_claims(right: list[dict[str, str]], wrong: dict[int, dict[str, str]]) -> None:
    """20,000 right rows of as many people, 200 wrong ones, in less than 5 MB, with the columns of a real row."""
    assert len(right) == len({(row["card_type"], row["card_no"]) for row in right}) == 20_000
    assert len(wrong) == 200
    assert tuple(right[0]) == COLUMNS
    assert (EXAMPLES / "lab-day.csv").stat().st_size < 5_000_000


def test_right_documents_are_valid_and_belong_to_no_living_person(right: list[dict[str, str]]) -> None:
    """Every number passes its check, and every card names a birth in the 1800s."""
    for row in right:
        canonical_document(TYPES[row["card_type"]], row["card_no"])
        if len(row["card_no"]) == 18:
            assert row["card_no"][6:8] == "18"
        else:
            assert row["card_no"].lstrip("HM").startswith("0000")


def test_right_times_are_in_order_and_on_one_day(right: list[dict[str, str]]) -> None:
    """Sampled, received, reported, each with its zone, all on 9 August 2022."""
    for row in right:
        times = [datetime.fromisoformat(row[column]) for column in ("sample_date", "collect_date", "report_date")]
        assert times == sorted(times)
        assert {time.utcoffset() for time in times} == {timedelta(hours=8)}
        assert {time.date().isoformat() for time in times} == {"2022-08-09"}


def test_reports_come_out_through_the_day(right: list[dict[str, str]]) -> None:
    """Reports come in the order of their issue, some in each hour from ten in the morning to nine in the evening."""
    issued = [row["report_date"] for row in right]
    assert issued == sorted(issued)
    assert {f"{hour:02}" for hour in range(10, 21)} <= {time[11:13] for time in issued}


def test_right_tubes_hold_together(right: list[dict[str, str]]) -> None:
    """A tube's rows differ in person and report number alone, fit its size, and stand together; all sizes occur."""
    shared = [column for column in COLUMNS if column not in {"name", "card_no", "card_type", "report_no"}]
    tubes = list(runs(right))
    assert len({tube[0]["tube_code"] for tube in tubes}) == len(tubes)
    for tube in tubes:
        assert len({tuple(row[column] for column in shared) for row in tube}) == 1
        assert len(tube) <= int(tube[0]["pool_size"])
        assert is_region(tube[0]["sample_region"])
        assert within(tube[0]["sample_region"], "220500")
    assert {tube[0]["pool_size"] for tube in tubes} == {"1", "5", "10", "20"}
    assert len({row["report_no"] for row in right}) == len(right)


def test_results_fit_their_tubes(right: list[dict[str, str]]) -> None:
    """There are positive pools and positive single tubes, and no positive pool of one."""
    results = {(row["nat_result"], row["pool_size"] == "1") for row in right}
    assert {("混管阳性", False), ("阳性", True), ("阴性", True), ("阴性", False)} <= results
    assert not {("混管阳性", True), ("阳性", False)} & results


def test_every_way_of_being_wrong_is_there(wrong: dict[int, dict[str, str]]) -> None:
    """Each kind at least five times, so that none hides among the others."""
    counts = Counter(row["kind"] for row in wrong.values())
    assert len(counts) == 15
    assert min(counts.values()) >= 5


def test_laboratory_has_a_right_code() -> None:
    """The invented laboratory's GB 32100 check character is right, and it is registered in Tonghua."""
    assert uscc.is_valid(LAB)
    assert within(LAB[2:8], "220500")


def test_arguments_give_another_day(tmp_path: Path) -> None:
    """A smaller day of another seed has as many rows as asked, however few."""
    for people, faulty in ((0, 3), (1, 0), (50, 40)):
        out = tmp_path / f"{people}.csv"
        generate_day.main(["--people", str(people), "--wrong", str(faulty), "--seed", "7", "--out", str(out)])
        assert len(rows(out)) == people + faulty
        assert len(rows(out.with_suffix(".wrong.csv"))) == faulty
