"""Resource names: what is formatted parses back, and what is malformed says what was expected."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.cn import uscc as gb32100

from services.domain import names
from services.domain.errors import InvalidArgument

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def _uscc(body: str) -> str:
    code = "9141" + body
    return code + gb32100.calc_check_digit(code)


usccs = st.builds(
    lambda region, organisation: _uscc(f"{region:04}{organisation}"),
    st.integers(0, 9999),
    st.text(ALPHABET, min_size=9, max_size=9),
)
report_numbers = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(0x21)), "\x7f", "/", "@"]),
    min_size=1,
    max_size=64,
)
regions = st.integers(0, 999_999).map(lambda number: f"{number:06}")
policy_ids = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
revisions = st.none() | st.integers(1, 999_999_999)


@given(usccs)
def test_labs_round_trip(uscc: str) -> None:
    """Any right code."""
    assert names.parse_lab(names.format_lab(uscc)) == uscc


@given(usccs, report_numbers, revisions)
def test_results_round_trip(uscc: str, report_number: str, revision: int | None) -> None:
    """Report numbers are any that a laboratory may use. Names may have a revision."""
    assert names.parse_result(names.format_result(uscc, report_number, revision)) == (uscc, report_number, revision)


@given(usccs, st.from_regex(r"[0-9A-Za-z._-]{1,64}", fullmatch=True))
def test_uploads_round_trip(uscc: str, upload_id: str) -> None:
    """Upload ids are any that a client may choose."""
    assert names.parse_upload(names.format_upload(uscc, upload_id)) == (uscc, upload_id)


@given(regions, policy_ids, revisions)
def test_policies_round_trip(region: str, policy_id: str, revision: int | None) -> None:
    """A series and one of its revisions."""
    assert names.parse_policy(names.format_policy(region, policy_id, revision)) == (region, policy_id, revision)


@given(st.uuids())
def test_decisions_and_refusals_round_trip(identifier: uuid.UUID) -> None:
    """The names contain UUIDs."""
    assert names.parse_decision(names.format_decision(str(identifier))) == str(identifier)
    assert names.parse_refusal(names.format_refusal(str(identifier))) == str(identifier)


@given(regions)
def test_jurisdictions_round_trip(region: str) -> None:
    """Every region has such a name."""
    assert names.parse_jurisdiction(f"jurisdictions/{region}") == region


LAB = "labs/" + _uscc("0100MA0000001")
PARSERS: list[Callable[..., Any]] = [
    names.parse_lab,
    names.parse_result,
    names.parse_upload,
    names.parse_policy,
    names.parse_jurisdiction,
    names.parse_decision,
    names.parse_refusal,
]


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: str(parse.__name__))
@given(name=st.text(max_size=80))
def test_anything_else_is_malformed(parse: Callable[..., Any], name: str) -> None:
    """The field's path and the expected form are in the error, in the violation and in the metadata."""
    with pytest.raises(InvalidArgument) as caught:
        parse(name, "some.field")
    assert caught.value.reason == "MALFORMED_NAME"
    assert caught.value.metadata["field"] == "some.field"
    assert caught.value.metadata["expected"]
    assert [violation.field for violation in caught.value.violations] == ["some.field"]


@pytest.mark.parametrize(
    ("parse", "name"),
    [
        (names.parse_lab, LAB + "/"),
        (names.parse_lab, LAB + "\n"),
        (names.parse_lab, LAB.lower()),
        (names.parse_result, LAB + "/results/"),
        (names.parse_result, LAB + "/results/a/b"),
        (names.parse_result, LAB + "/results/a@0"),
        (names.parse_result, LAB + "/results/a@1@2"),
        (names.parse_result, LAB + "/results/" + "a" * 65),
        (names.parse_upload, LAB + "/uploads/a b"),
        (names.parse_policy, "jurisdictions/-/policies/venue"),
        (names.parse_policy, "jurisdictions/410000/policies/Venue"),
        (names.parse_policy, "jurisdictions/410000/policies/venue@01"),
        (names.parse_jurisdiction, "jurisdictions/"),
        (names.parse_jurisdiction, "jurisdictions/-"),
        (names.parse_decision, "decisions/" + "0" * 36),
        (names.parse_decision, "refusals/" + str(uuid.UUID(int=0))),
    ],
)
def test_near_misses_are_malformed(parse: Callable[..., Any], name: str) -> None:
    """The names are such as typing errors make."""
    with pytest.raises(InvalidArgument) as caught:
        parse(name)
    assert caught.value.reason == "MALFORMED_NAME"


@given(usccs, st.integers(0, 17), st.sampled_from(ALPHABET))
def test_a_wrong_check_character_is_named_as_such(uscc: str, place: int, other: str) -> None:
    """The form is right and the code is not: BAD_USCC, in a lab's name and in those below it."""
    wrong = uscc[:place] + other + uscc[place + 1 :]
    if gb32100.is_valid(wrong):
        return
    for parse, name in (
        (names.parse_lab, f"labs/{wrong}"),
        (names.parse_result, f"labs/{wrong}/results/1"),
        (names.parse_upload, f"labs/{wrong}/uploads/1"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            parse(name)
        assert caught.value.reason == "BAD_USCC"


def test_a_code_is_right_as_it_stands_or_not_at_all() -> None:
    """Small letters, spaces and hyphens make another string, under which nothing would be found."""
    code = _uscc("0100MA0000001")
    assert names.is_uscc(code)
    assert not any(map(names.is_uscc, [code.lower(), f" {code}", f"{code[:2]}-{code[2:]}", f"{code}\n", ""]))


def test_nodes_have_names() -> None:
    """The names contain their regions."""
    assert names.format_node("410000") == "nodes/410000"


@given(st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True))
def test_items_parse_back(item: str) -> None:
    assert names.parse_item(names.format_item(item)) == item
    assert names.is_item(item) == (item != "sars-cov-2-nucleic-acid")


def test_the_default_item_is_empty_and_has_a_name_for_people() -> None:
    default = "items/sars-cov-2-nucleic-acid"
    assert names.parse_item("") == names.parse_item(default) == ""
    assert names.format_item("") == ""
    assert names.describe_item("") == default
    assert names.is_item("")
    assert names.parse_items([default, "items/a", "", "items/a"], "items") == ("", "a")


@pytest.mark.parametrize("name", ["items/", "items/A", "items/a_b", "items/" + "a" * 64, "labs/a", "a", "items/a\n"])
def test_a_malformed_item_is_refused_with_its_field(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        names.parse_items(["items/a", name], "start.items")
    assert (caught.value.reason, caught.value.metadata["field"]) == ("MALFORMED_NAME", "start.items[1]")


@pytest.mark.parametrize("item", ["items/a", "A", "a_b", "a" * 64, "a\n", "sars-cov-2-nucleic-acid"])
def test_what_is_no_id_of_an_item_is_known(item: str) -> None:
    assert not names.is_item(item)
