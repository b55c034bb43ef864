"""Duplicates and conflicts: everything that a laboratory states about a person is in the content hash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.subject import mask_number
from services.results.records.row_columns import KEY_COLUMNS, VALIDATED_COLUMNS
from services.results.records.row_format import CopyRows, escape
from services.results.upload.known_batches import batch_digest
from services.results.upload.model import Tube
from services.results.upload.valid_persons import tube_statement, without_numbers
from tests.support.results.factories import (
    ANTIGEN,
    DEFAULT_ITEM_NAME,
    PEPPER,
    domain_tube,
    make_document,
    make_lab,
    make_tube,
    validate_batch,
)

OTHERWISE = {
    "tube_code": "T1",
    "pool_size": 2,
    "specimen": 1,
    "method": 2,
    "outcome": 3,
    "sample_region": "220503",
    "sample_site": "",
    "sample_time": 1,
    "receive_time": None,
    "test_time": None,
    "report_time": None,
    "item": "sars-cov-2-antigen",
}


def test_the_statement_tells_every_field_apart() -> None:
    """A field that is added to tubes must be added here and to the statement."""
    tube = domain_tube()
    assert {*Tube._fields} - {"person_count"} == set(OTHERWISE)
    for name, value in OTHERWISE.items():
        other = tube._replace(**{name: value})  # type: ignore[arg-type] # one field of many types
        assert tube_statement(other) != tube_statement(tube), name


line = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=12)
instants = st.none() | st.integers(0, 20)
tubes = st.builds(
    Tube,
    tube_code=line,
    pool_size=st.integers(0, 12),
    specimen=st.integers(0, 12),
    method=st.integers(0, 12),
    outcome=st.integers(0, 12),
    sample_region=st.sampled_from(["220502", "220503"]),
    sample_site=line,
    sample_time=instants,
    receive_time=instants,
    test_time=instants,
    report_time=instants,
    item=st.sampled_from(["", "1", "a"]),
    person_count=st.just(0),
)


@given(tubes, tubes)
def test_two_tubes_state_the_same_only_when_they_are_the_same(one: Tube, other: Tube) -> None:
    assert (tube_statement(one) == tube_statement(other)) == (one == other)


def test_a_tube_without_an_item_has_the_hash_it_had_before_tubes_had_items() -> None:
    """The hash was computed without items. The default item by its name is the same item."""
    (first,) = validate_batch([make_tube()]).results
    assert first.content_hash.hex() == "ade891166c1771544d8f195ef0a6602c"
    assert list(validate_batch([make_tube(item=DEFAULT_ITEM_NAME)]).results) == [first]
    (antigen,) = validate_batch([make_tube(item=ANTIGEN)], items=("sars-cov-2-antigen",)).results
    assert antigen.content_hash != first.content_hash
    assert (first.item, antigen.item) == ("", "sars-cov-2-antigen")
    assert batch_digest(PEPPER, make_lab(), ("",), b"tubes").hex() == "1ebdcfd7047a43d7ccc139ead703406b"
    assert (
        batch_digest(PEPPER, make_lab(), ("", "sars-cov-2-antigen"), b"tubes").hex()
        != "1ebdcfd7047a43d7ccc139ead703406b"
    )


def test_document_name_and_tube_make_the_content() -> None:
    """The same person by another spelling of the number is the same; another person or name is not."""
    tube = make_tube()
    (first,) = validate_batch([tube]).results
    tube.persons[0].document.number = tube.persons[0].document.number[:6] + " " + tube.persons[0].document.number[6:]
    assert validate_batch([tube]).results[0].content_hash == first.content_hash
    tube.persons[0].document.name = "另一人"
    assert validate_batch([tube]).results[0].content_hash != first.content_hash
    tube = make_tube()
    tube.persons[0].document.CopyFrom(make_tube(1).persons[0].document)
    assert validate_batch([tube]).results[0].content_hash != first.content_hash


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_escaped_text_is_one_field_of_one_line(text: str) -> None:
    """No tab, newline, return or end-of-data mark of COPY survives, and reading it back gives the text."""
    escaped = escape(text)
    assert not set(escaped) & set("\t\n\r")
    pairs = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
    back, index = "", 0
    while index < len(escaped):
        width = 2 if escaped[index] == "\\" else 1
        back += pairs[escaped[index : index + 2]] if width == 2 else escaped[index]
        index += width
    assert back == text


BREAK = "x\t1\n"
TUBE_TEXTS = {"tube_code": BREAK, "sample_region": BREAK, "sample_site": BREAK}


def test_no_text_breaks_out_of_its_field_of_a_line() -> None:
    """Whichever of a row's texts holds a tab and a line break: one line with as many fields as there are columns."""
    form = CopyRows()
    of_tube = form.form_tube(domain_tube(make_tube(0))._replace(**TUBE_TEXTS))  # type: ignore[arg-type]
    line = form.form_result((b"k" * 16, BREAK, BREAK, 1, b"", BREAK, BREAK), of_tube)
    assert "\n" not in line
    assert line.count("\t") + 1 == len(VALIDATED_COLUMNS)
    key = form.form_key(BREAK, BREAK, b"k" * 16, 1, 1, b"h" * 16)
    assert (key.count("\n"), key.count("\t") + 1) == (1, len(KEY_COLUMNS))


def test_a_number_in_the_sites_name_is_masked_where_it_is_stored_and_nowhere_else() -> None:
    """The row of each engine has the masked number.

    Duplicates are found by the laboratory's own text, so two names that differ only in the number stay different.
    """
    number, other = make_document(1).number, make_document(2).number
    for dialect in ("sqlite", "postgresql"):
        rows = [
            validate_batch([make_tube(0, site=f"{written}的家门口")], dialect=dialect).results[0]
            for written in (number, number, other)
        ]
        assert mask_number(number) in str(rows[0].result_row)
        assert number not in str(rows[0])
        assert rows[0] == rows[1]
        assert rows[0].content_hash != rows[2].content_hash


@pytest.mark.parametrize("site", ["东昌区第一采样点", "采" * 200, "0435-0000000 转 12345678901234567", "1" * 19, ""])
def test_any_other_site_is_stored_as_it_was_sent(site: str) -> None:
    tube = domain_tube(make_tube(0, site=site))
    assert without_numbers(tube) is tube
