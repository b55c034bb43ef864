"""New results in columns. Their rows equal those that a plain model makes of one person after another."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence

import pytest
from hutong.results.v1 import upload_pb2
from hutong.type.v1 import identity_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from services.domain.document import canonical_document
from services.domain.subject import KEY_LENGTH, Pepper, mask_name, mask_number
from services.results.records.model import KeyedForm, NewResult
from services.results.records.new_results import NewResults
from services.results.records.row_format import row_form
from services.results.upload.convert import tube_from_proto
from services.results.upload.valid_persons import tube_statement, without_numbers
from tests.support.results.factories import PEPPER, USCC, make_document, make_tube, validate_batch

ENGINES = ("postgresql", "sqlite")
TWO_KEYS = Pepper(PEPPER.secret, 1, Pepper(b"o" * 32, 2))
PASSPORT = identity_pb2.IdentityDocument(
    type=identity_pb2.DOCUMENT_TYPE_PASSPORT, number="e1234567", issuing_country="JPN", name="Ōe Kenzaburō"
)
PERMIT = identity_pb2.IdentityDocument(
    type=identity_pb2.DOCUMENT_TYPE_HK_MACAO_TRAVEL_PERMIT, number="H12345678 01", name="陈 大文"
)
IMPOSSIBLE = identity_pb2.IdentityDocument(
    type=identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD, number="410105186001010011", name="张伟"
)
DOCUMENTS = [make_document(1), make_document(2), PASSPORT, PERMIT, IMPOSSIBLE]
UNKNOWN_REGION = "999999"
NAMES = ["", "张伟", "黃户", "阿不都·热合曼", "Li Lei", "*", "C:\\", "陈\u3000静", "\U00020087娜"]
SITES = ["东昌区第一采样点", "C:\\采样点", f"{make_document(3).number}的家门口"]


def one_by_one(tubes: Sequence[upload_pb2.Tube], dialect: str, pepper: Pepper) -> list[NewResult]:
    """Return the results of tubes, each made by itself. Persons with an impossible document have none.

    A tube of an unknown region has none either.
    """
    form = row_form(dialect)
    results = []
    for tube_index, message in enumerate(tubes):
        if message.sample_region == UNKNOWN_REGION:
            continue
        tube = tube_from_proto(message)
        of_tube = form.form_tube(without_numbers(tube))
        for position, person in enumerate(message.persons):
            stated, number = person.document, person.report_number
            if stated.number == IMPOSSIBLE.number:
                continue
            document = canonical_document(stated.type, stated.number, stated.issuing_country)
            forms = []
            for version in pepper.versions:
                key = version.subject_key(document)
                stated_name, name_hash = version.hash_stated_name(stated.name)
                content = hashlib.blake2b(tube_statement(tube) + key + stated_name, digest_size=KEY_LENGTH).digest()
                masks = (mask_name(stated.name), mask_number(document.number))
                row = form.form_result((key, USCC, number, version.version, name_hash, *masks), of_tube)
                forms.append(KeyedForm(key, content, row))
            key, content, row = forms[0]
            key_row = form.form_key(USCC, number, key, tube.reference_time, tube.outcome, content)
            subject = (tube_index, position, number, key, tube.reference_time, tube.outcome)
            other = forms[1] if pepper.other else None
            results.append(NewResult(*subject, content, key_row, row, tube.item, other))
    return results


@st.composite
def batches(draw: st.DrawFn) -> list[upload_pb2.Tube]:
    """Return tubes. Their report numbers are in no order, and may occur twice or contain a backslash."""
    tubes = []
    regions = st.sampled_from(["220502", UNKNOWN_REGION])
    for site, region in draw(st.lists(st.tuples(st.sampled_from(SITES), regions), max_size=3)):
        persons = draw(st.lists(st.tuples(st.sampled_from(DOCUMENTS), st.sampled_from(NAMES)), min_size=1, max_size=3))
        tube = make_tube(0, len(persons), site=site, region=region)
        for person, (document, name) in zip(tube.persons, persons, strict=True):
            person.document.CopyFrom(document)
            person.document.name = name
            person.report_number = draw(st.sampled_from(["R1", "R2", "R10", "a\\b", "Ü"]))
        tubes.append(tube)
    return tubes


@pytest.mark.parametrize("dialect", ENGINES)
@pytest.mark.parametrize("pepper", [PEPPER, TWO_KEYS], ids=["one key", "two keys"])
@given(tubes=batches())
@example(tubes=[])
@example(tubes=[make_tube(30), make_tube(20, 5), make_tube(30)])
def test_results_in_columns_are_those_of_one_person_after_another(
    dialect: str, pepper: Pepper, tubes: list[upload_pb2.Tube]
) -> None:
    """Persons and tubes that are rejected have no results."""
    expected = one_by_one(tubes, dialect, pepper)
    results = validate_batch(tubes, dialect=dialect, pepper=pepper).results
    sent: NewResults = pickle.loads(pickle.dumps(results))
    assert list(sent) == expected
    assert (len(sent), sent[:1]) == (len(expected), expected[:1])
    numbers = [row.report_number for row in expected]
    assert sent.are_distinct is (len(set(numbers)) == len(numbers))
    form = row_form(dialect)
    by_number = sorted(expected, key=lambda row: row.report_number)
    assert sent.keys == form.join_keys([row.key_row for row in by_number])
    assert sent.rows == form.join_results([row.result_row for row in expected])


@pytest.mark.parametrize("dialect", ENGINES)
@pytest.mark.parametrize("first", [9, 15])
def test_merged_batches_are_as_one_batch(dialect: str, first: int) -> None:
    """The keys are in the order of their numbers, also if the numbers of two batches overlap."""
    parts = [
        validate_batch([make_tube(30), make_tube(10, 5)], dialect=dialect, pepper=TWO_KEYS).results,
        validate_batch([make_tube(first, 3), make_tube(5)], dialect=dialect).results,
        validate_batch([make_tube(60)], dialect=dialect).results,
    ]
    merged = merge(parts)
    whole = [row for part in parts for row in part]
    assert list(merged) == whole
    by_number = sorted(whole, key=lambda row: row.report_number)
    assert merged.keys == row_form(dialect).join_keys([row.key_row for row in by_number])
    assert merged.are_distinct is (first == 15)


def merge(parts: Sequence[Sequence[NewResult]]) -> NewResults:
    """Return the results of several batches in one object."""
    assert all(isinstance(part, NewResults) for part in parts)
    return NewResults.merge([part for part in parts if isinstance(part, NewResults)])


def test_numbers_that_ascend_from_batch_to_batch_are_merged_in_order() -> None:
    first, second = (
        validate_batch([make_tube(at, 5), make_tube(at + 9)], dialect="postgresql").results for at in (20, 50)
    )
    merged = merge([first, second])
    assert isinstance(first, NewResults)
    assert isinstance(second, NewResults)
    assert merged.keys == first.keys + second.keys
