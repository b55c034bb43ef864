"""A rejected row that is corrected and sent alone is a row of the same tube, or it is rejected again."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hutong.results.v1.upload_pb2 import Rejection, Tube
from hutong_client.formatting import SHANGHAI
from hutong_client.tables.batches import gather
from hutong_client.tables.open import open_table
from hutong_client.tables.rejected.layouts import Rejected, layout_of
from hutong_client.tables.rejected.rejects import RejectsFile, find_rejected
from hutong_client.tables.tubes import Reading, read_tubes
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.client.laboratory_formats import TITLES, as_text, csv, members, ndjson, person, xlsx

READING = Reading(SHANGHAI, "220502")
BAD_TIME, GOOD_TIME = "2022-08-09", "2022-08-09 06:00:00"


def read(path: Path, refused: frozenset[str] = frozenset()) -> tuple[list[Tube], list[Rejected]]:
    """Return a file's tubes and its rejected rows. The service refuses the persons of some report numbers."""
    stored, rejected = [], []
    with open_table(path) as table:
        for batch in gather(read_tubes(table, READING)):
            rejections = [
                Rejection(tube_index=index, person_index=at)
                for index, tube in enumerate(batch.tubes)
                for at, one in enumerate(tube.persons)
                if one.report_number in refused
            ]
            stored += batch.tubes
            rejected += find_rejected(batch.note, rejections)
    return stored, rejected


def write_rejects(path: Path, refused: frozenset[str] = frozenset()) -> Path:
    """Write the rejected rows of a file and return the path of their file."""
    rejects = path.with_name(f"{path.stem}.rejects{path.suffix if path.suffix == '.ndjson' else '.csv'}")
    rejects.unlink(missing_ok=True)
    with open_table(path) as table, RejectsFile(rejects, layout_of(table)) as file:
        file.write(read(path, refused)[1])
    return rejects


def correct(path: Path) -> Path:
    """Correct the times of a file of rejected rows, as a clerk does."""
    text = path.read_text(encoding="utf-8-sig")
    for mark in (",", '"', '""'):
        text = text.replace(f"{mark}{BAD_TIME}{mark}", f"{mark}{GOOD_TIME}{mark}")
    path.write_text(text, "utf-8-sig")
    return path


POOLS = {
    "code and size once": [TITLES, *members("S1", 10, 4)],
    "code once, size below": [TITLES, person(1, "S1", 10), person(2, "", 10), person(3, "同上", "同上")],
    "code in each row, size once": [TITLES, person(1, "S1", 10), person(2, "S1", ""), person(3, "S1", "")],
    "code in each row, no size": [TITLES, person(1, "S1", ""), person(2, "S1", ""), person(3, "S1", "")],
    "code in each row, 混采": [TITLES, *(person(number, "S1", "混采") for number in range(1, 4))],
}


@pytest.mark.parametrize("layout", POOLS)
def test_a_corrected_member_is_a_member_of_the_same_pool(tmp_path: Path, layout: str) -> None:
    """The code and the size stand in its row, also if the service has rejected it."""
    rows = [[*row] for row in POOLS[layout]]
    rows[-1][TITLES.index("采样时间")] = BAD_TIME
    path = csv(rows)(tmp_path)
    (pool,), _ = read(path)
    (alone,), rejected = read(correct(write_rejects(path)))
    assert (alone.tube_code, alone.pool_size) == (pool.tube_code, pool.pool_size)
    assert not rejected
    rows[-1][TITLES.index("采样时间")] = GOOD_TIME
    path = csv(rows)(tmp_path)
    (alone,), _ = read(write_rejects(path, frozenset({str(rows[-1][-1])})))
    assert (alone.tube_code, alone.pool_size, len(alone.persons)) == (pool.tube_code, pool.pool_size, 1)


def test_a_file_without_sizes_gets_a_column_for_them(tmp_path: Path) -> None:
    """The size was counted, and it cannot be counted again. The column has a Chinese title among Chinese ones."""
    titles = [title for title in TITLES if title != "混检人数"]
    rows = [[*person(number, "S1")[:6], f"R{number}"] for number in range(1, 4)]
    rows[1][2] = BAD_TIME
    rejects = write_rejects(csv([titles, *rows])(tmp_path))
    assert "can_be_retried,混检人数,姓名" in rejects.read_text("utf-8-sig")
    (alone,), _ = read(correct(rejects))
    assert (alone.tube_code, alone.pool_size) == ("S1", 3)
    again = write_rejects(rejects, frozenset({"R2"}))
    assert again.read_text("utf-8-sig").count("混检人数") == 1


def test_a_record_gets_the_code_and_the_size(tmp_path: Path) -> None:
    """In NDJSON, the record gets them under its own keys, or under the English names if it has no such keys."""
    first = {title: str(cell) for title, cell in zip(TITLES, person(1, "S1", 10), strict=True)}
    second = {
        title: str(cell)
        for title, cell in zip(TITLES, person(2, sample_date=BAD_TIME), strict=True)
        if title not in {"管号", "混检人数"}
    }
    rejects = write_rejects(ndjson(first, second | {"管号": ""})(tmp_path))
    (alone,), _ = read(correct(rejects))
    assert (alone.tube_code, alone.pool_size) == ("S1", 10)


def test_a_member_of_merged_cells_has_their_values(tmp_path: Path) -> None:
    rows = [TITLES, *members("S1", 10, 3)]
    rows[3][2] = BAD_TIME
    (alone,), _ = read(correct(write_rejects(xlsx(("结果", rows), merged=["F2:F4", "G2:G4"])(tmp_path))))
    assert (alone.tube_code, alone.pool_size) == ("S1", 10)


def test_the_name_of_a_test_that_stands_once_comes_along(tmp_path: Path) -> None:
    """Without the name, an antigen test would be stored as a nucleic acid test."""
    rows = [[*row, ""] for row in [TITLES, *members("S1", 10, 3)]]
    rows[0][-1], rows[1][-1], rows[3][2] = "检测项目", "新冠抗原检测", BAD_TIME
    rejects = correct(write_rejects(csv(rows)(tmp_path)))
    stored, rejected = read(rejects)
    assert not stored
    assert {fault.reason for item in rejected for fault in item.faults} == {"ITEM_NOT_ADMITTED"}


def test_a_row_in_doubt_stays_in_doubt(tmp_path: Path) -> None:
    """The row has neither a code nor a size. If it were sent alone, it would be a tube of its own."""
    path = csv([TITLES, person(1, "S1", 1), person(2, "", ""), person(3, "S2", "")])(tmp_path)
    rejects = write_rejects(path, frozenset({"R0003"}))
    kept = [line for line in rejects.read_text("utf-8-sig").splitlines() if "S2" not in line]
    rejects.write_text("\n".join(kept), "utf-8-sig")
    for _ in range(2):
        stored, rejected = read(rejects)
        assert not stored
        assert [fault.column for item in rejected for fault in item.faults] == ["pool_size"]
        rejects.write_bytes(write_rejects(rejects.rename(tmp_path / "again.csv")).read_bytes())


CODES = st.sampled_from(["", "", "S1", "S1", "S2", "同上", "-"])
SIZES = st.sampled_from(["", "", "1", "3", "10混1", "混采", "同上", "many"])
ROWS = st.lists(st.tuples(CODES, SIZES, st.booleans()), min_size=1, max_size=12)


@settings(max_examples=60)
@given(ROWS)
def test_no_row_sent_alone_is_of_a_smaller_tube(cells: Sequence[tuple[str, str, bool]]) -> None:
    """Each rejected row, corrected and sent alone, is of the tube that it was of with the others, or is rejected.

    If the tube as a whole contradicts itself, it is of a pool, or its own cell says that it is alone.
    """
    people = [
        person(number, code, size, sample_date=BAD_TIME if bad else GOOD_TIME)
        for number, (code, size, bad) in enumerate(cells)
    ]
    with tempfile.TemporaryDirectory() as folder:
        whole = csv([TITLES, *([*row[:2], GOOD_TIME, *row[3:]] for row in people)])(Path(folder))
        right = {one.report_number: (tube.tube_code, tube.pool_size) for tube in read(whole)[0] for one in tube.persons}
        rejects = write_rejects(csv([TITLES, *people])(Path(folder)))
        if not rejects.exists():
            return
        header, *lines = correct(rejects).read_text("utf-8-sig").splitlines()
        for line in lines:
            rejects.write_text(f"{header}\n{line}\n", "utf-8-sig")
            for tube in read(rejects)[0]:
                number = tube.persons[0].report_number
                stated = cells[int(number[1:])][1]
                if number in right:
                    assert right[number] == (tube.tube_code, tube.pool_size)
                else:
                    assert tube.pool_size > 1 or stated in {"1", "同上"}


def test_rejects_without_their_first_columns_are_complete(tmp_path: Path) -> None:
    """A clerk may delete the columns of the reasons before the corrected rows are sent."""
    rows = [TITLES, *members("S1", 10, 3)]
    rows[3][2] = BAD_TIME
    rejects = correct(write_rejects(csv(rows)(tmp_path)))
    _, line = rejects.read_text("utf-8-sig").splitlines()
    own = line.split(",")[-len(TITLES) :]
    rejects.write_text(as_text([TITLES, own]), "utf-8")
    (alone,), _ = read(rejects)
    assert (alone.tube_code, alone.pool_size) == ("S1", 10)


@pytest.mark.parametrize(("sheet", "column"), [("抗原", "检测项目"), ("核酸抗原", "检测项目"), ("结果", "")])
def test_a_test_that_the_sheet_names_comes_along(tmp_path: Path, sheet: str, column: str) -> None:
    """The file of rejected rows has neither the sheet nor the title, so a column names the test."""
    path = xlsx((sheet, [TITLES, person(1, sample_date=BAD_TIME)]))(tmp_path)
    rejects = correct(write_rejects(path))
    assert column in rejects.read_text("utf-8-sig").split("姓名")[0]
    stored, rejected = read(rejects.rename(tmp_path / "plain.csv"))
    assert bool(stored) == (sheet == "结果")
    assert all(fault.column == "check_project" for item in rejected for fault in item.faults)
