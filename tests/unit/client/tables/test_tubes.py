"""Rows into tubes and batches: what belongs together, what cannot be sent, where an upload can be taken up again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hutong.results.v1 import upload_pb2
from hutong.type.v1 import outcome_pb2
from hutong_client.tables.batches import gather, skip_tubes
from hutong_client.tables.rejected.rejects import count_reasons, find_rejected
from hutong_client.tables.rows import Row
from hutong_client.tables.tubes import BadRow, Reading, ReadTube, read_tubes
from hypothesis import given
from hypothesis import strategies as st

from tests.support.client.laboratory_files import CARDS, line


def as_rows(lines: Iterable[Mapping[str, Any]]) -> list[Row]:
    return [
        Row(number, {column: cell for column, cell in cells.items() if cell != ""}, tuple(map(str, cells.values())))
        for number, cells in enumerate(lines, start=2)
    ]


def split(*lines: Mapping[str, Any], reading: Reading | None = None) -> list[ReadTube | BadRow]:
    return list(read_tubes(as_rows(lines), reading or Reading()))


def tubes(items: Iterable[ReadTube | BadRow]) -> list[upload_pb2.Tube]:
    return [item.tube for item in items if isinstance(item, ReadTube)]


def faults(items: Iterable[ReadTube | BadRow]) -> dict[int, list[tuple[str, str]]]:
    return {
        item.row.number: [(fault.column, fault.reason) for fault in item.faults]
        for item in items
        if isinstance(item, BadRow)
    }


def pool(code: str, size: int, **changes: str) -> list[dict[str, str]]:
    return [
        line(number, tube_code=code, pool_size="10", report_no=f"{code}-{number}", **changes) for number in range(size)
    ]


def test_row_becomes_a_tube_of_the_contract() -> None:
    """Every column lands in its field; collect_date is when the laboratory received it."""
    row = line(
        sample_orgname="东昌区一号点",
        sample_type="口咽拭子",
        check_project="新冠病毒RT-PCR",
        collect_date="2022-08-09T07:00:00+08:00",
        test_date="2022-08-09T08:00:00+08:00",
    )
    (tube,) = tubes(split(row))
    assert tube.tube_code == "T00001"
    assert tube.pool_size == 1
    assert tube.outcome == outcome_pb2.OUTCOME_NEGATIVE
    assert tube.sample_region == "220502"
    assert tube.sample_site == "东昌区一号点"
    times = (tube.sample_time, tube.receive_time, tube.test_time, tube.report_time)
    assert [time.ToJsonString()[11:13] for time in times] == ["22", "23", "00", "04"]
    assert [(it.document.number, it.document.name, it.report_number) for it in tube.persons] == [
        (CARDS[1], "赵示例", "R00001")
    ]


def test_rows_that_stand_together_are_one_tube() -> None:
    """Rows with one code are one tube. Without a code each row is a tube, and its report's number is the code."""
    items = split(*pool("A", 3), *pool("B", 2), line(7, tube_code=""), line(8, tube_code=""))
    assert [(tube.tube_code, len(tube.persons)) for tube in tubes(items)] == [
        ("A", 3),
        ("B", 2),
        ("R00007", 1),
        ("R00008", 1),
    ]


def test_missing_pool_size_is_the_number_of_rows() -> None:
    """A tube was made for at least the persons in it."""
    rows = [row | {"pool_size": ""} for row in pool("A", 3)]
    assert [tube.pool_size for tube in tubes(split(*rows))] == [3]


def test_bad_row_harms_no_neighbour() -> None:
    """The other persons of its tube are sent. All of its own faults are reported at once."""
    rows = pool("A", 3)
    rows[1] |= {"sample_date": "44782.25", "card_no": "4.10105E+17", "report_date": "2022-08-09"}
    items = split(*rows)
    assert faults(items) == {
        3: [("sample_date", "INVALID_FIELD"), ("report_date", "INVALID_FIELD"), ("card_no", "BAD_DOCUMENT_NUMBER")]
    }
    assert [[person.report_number for person in tube.persons] for tube in tubes(items)] == [["A-0", "A-2"]]


@pytest.mark.parametrize(
    ("changes", "column"),
    [({"nat_result": "阳性"}, "nat_result"), ({"nat_result": "待定"}, "nat_result"), ({"pool_size": "5"}, "pool_size")],
)
def test_tube_that_contradicts_itself_is_not_guessed(changes: dict[str, str], column: str) -> None:
    """A tube with two results, with an unreadable result, or with two sizes is not sent at all."""
    rows = [*pool("A", 2), line(9)]
    rows[1] |= changes
    items = split(*rows)
    assert [tube.tube_code for tube in tubes(items)] == ["T00009"]
    assert set(faults(items)) == {2, 3}
    assert faults(items)[2] == [(column, "POOL_MISMATCH")]


def test_more_persons_than_the_tube_was_made_for() -> None:
    """Every row of the tube is rejected, because nobody knows which of the persons are really in the tube."""
    items = split(*(row | {"pool_size": "1"} for row in pool("A", 2)))
    assert faults(items) == {2: [("pool_size", "POOL_MISMATCH")], 3: [("pool_size", "POOL_MISMATCH")]}


def test_members_sampled_at_different_times_keep_their_own_time() -> None:
    """The tube is sent in parts with one code: no window is counted from another person's specimen."""
    rows = pool("A", 3)
    rows[2] |= {"sample_date": "2022-08-09T06:00:30+08:00"}
    parts = tubes(split(*rows))
    assert [(tube.tube_code, len(tube.persons), tube.sample_time.seconds % 60) for tube in parts] == [
        ("A", 2, 0),
        ("A", 1, 30),
    ]


def test_thousands_of_identical_rows_are_duplicates_and_no_pool() -> None:
    """Each goes by itself, so that the service counts all but the first as duplicates."""
    items = split(*([line(1)] * 4_000))
    assert len(tubes(items)) == 4_000
    assert all(len(tube.persons) == 1 for tube in tubes(items))


def test_file_with_one_code_in_every_row_is_refused_row_by_row() -> None:
    """However long it is, without keeping all of it."""
    items = split(*(line(number, tube_code="T", pool_size="20") for number in range(6_000)))
    assert tubes(items) == []
    assert len(faults(items)) == 6_000


def test_missing_cells_are_left_to_the_service() -> None:
    """The service names every missing field. Only this person is rejected."""
    (tube,) = tubes(split(line(card_no="", report_date="", nat_result="")))
    assert not tube.HasField("report_time")
    assert tube.outcome == outcome_pb2.OUTCOME_UNSPECIFIED
    assert tube.persons[0].document.number == ""


def test_region_comes_from_the_option_only_where_the_row_has_none() -> None:
    """Without either the row says what to do."""
    bare = line(sample_region="")
    assert [tube.sample_region for tube in tubes(split(bare, line(2), reading=Reading(region="410105")))] == [
        "410105",
        "220502",
    ]
    (bad,) = split(bare)
    assert isinstance(bad, BadRow)
    assert "--region" in bad.faults[0].description


def test_nationality_is_sent_for_passports_alone() -> None:
    """The contract has it for no other document."""
    card, passport = tubes(
        split(line(1, issuing_country="CHN"), line(2, card_type="护照", card_no="X1234567", issuing_country="FRA"))
    )
    assert card.persons[0].document.issuing_country == ""
    assert passport.persons[0].document.issuing_country == "FRA"


def test_row_far_too_long_is_refused_here() -> None:
    """The row would exceed the size of a batch and end the whole upload."""
    (bad,) = split(line(name="赵" * 10_000))
    assert isinstance(bad, BadRow)


Choice = st.sampled_from(["good", "good", "pool", "bad", "late member"])


def file_of(choices: list[str]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for number, choice in enumerate(choices):
        if choice == "good":
            rows.append(line(number))
        elif choice == "bad":
            rows.append(line(number, sample_date="?"))
        else:
            members = pool(f"P{number}", 4)
            members[1] |= {"sample_date": "?"}
            if choice == "late member":
                members[3] |= {"sample_date": "2022-08-09T06:01:00+08:00"}
            rows += members
    return rows


@given(st.lists(Choice, max_size=30), st.integers(1, 5), st.data())
def test_taking_up_anywhere_leaves_nothing_out_and_repeats_nothing(
    choices: list[str], batch_size: int, data: st.DataObject
) -> None:
    """Cut at any batch and go on with batches of another size: the same tubes, the same rejects in order."""
    rows = as_rows(file_of(choices))

    def told(batches: Iterable[Any]) -> tuple[list[str], list[int]]:
        sent, rejected = [], []
        for batch in batches:
            sent += [tube.persons[0].report_number for tube in batch.tubes]
            rejected += [it.row.number for it in find_rejected(batch.note, ())]
        return sent, rejected

    whole = told(gather(read_tubes(rows, Reading()), 1_000))
    first = list(gather(read_tubes(rows, Reading()), batch_size))
    cut = data.draw(st.integers(0, len([batch for batch in first if batch.tubes])))
    before = told(first[:cut])
    offset = sum(len(batch.tubes) for batch in first[:cut])
    after = told(gather(skip_tubes(read_tubes(rows, Reading()), offset), data.draw(st.integers(1, 5))))
    assert (before[0] + after[0], before[1] + after[1]) == whole
    assert whole[1] == sorted(whole[1])


def test_batches_keep_to_both_limits() -> None:
    """A thousand tubes, and a little less than a megabyte."""
    rows = as_rows(line(number, name="赵" * 120, sample_orgname="示" * 200) for number in range(3_000))
    batches = list(gather(read_tubes(rows, Reading())))
    assert sum(len(batch.tubes) for batch in batches) == 3_000
    for batch in batches:
        assert len(batch.tubes) <= 1_000
        assert upload_pb2.TubeBatch(offset=1 << 40, tubes=batch.tubes).ByteSize() < 1024 * 1024


def test_rejections_find_their_rows_and_columns() -> None:
    """Rejections are of one person of a pool, and of a whole tube for a fault of one of its members."""
    (batch,) = gather(read_tubes(as_rows([*pool("A", 3), *pool("B", 2)]), Reading()))
    violation = upload_pb2.FieldViolation
    rejections = [
        upload_pb2.Rejection(
            tube_index=0,
            person_index=2,
            violations=[violation(field="persons[2].document.number", reason="BAD_DOCUMENT_NUMBER", description="no")],
        ),
        upload_pb2.Rejection(
            tube_index=1,
            person_index=-1,
            retryable=True,
            violations=[
                violation(field="report_time", reason="TIME_IN_FUTURE", description="too early"),
                violation(field="persons[1].report_number", reason="CONFLICT", description="taken"),
            ],
        ),
    ]
    rejected = find_rejected(batch.note, rejections)
    told = [(it.row.number, [(f.column, f.reason) for f in it.faults], it.retryable) for it in rejected]
    assert told == [
        (4, [("card_no", "BAD_DOCUMENT_NUMBER")], False),
        (5, [("report_date", "TIME_IN_FUTURE")], True),
        (6, [("report_date", "TIME_IN_FUTURE"), ("report_no", "CONFLICT")], True),
    ]
    assert count_reasons(rejected) == {"BAD_DOCUMENT_NUMBER": 1, "TIME_IN_FUTURE": 2, "CONFLICT": 1}
