"""The rules of the .proto files as violations: every fault, its path, and never a value."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.policy.v1.policy_pb2 import Policy
from hutong.results.v1.lab_pb2 import LAB_STANDING_SUSPENDED, Lab
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, GetLabRequest, ListLabsRequest, SetLabStandingRequest
from hutong.results.v1.results_service_pb2 import BatchLookupLatestRequest, LookupLatestRequest
from hutong.results.v1.upload_pb2 import Tube
from hutong.type.v1.identity_pb2 import DOCUMENT_TYPE_RESIDENT_ID_CARD as CARD
from hutong.type.v1.identity_pb2 import IdentityDocument
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidArgument
from services.runtime.server.validation import check, check_each, find_violations

GOOD: Any = {"name": "labs/1", "standing": LAB_STANDING_SUSPENDED, "reason": "x"}


def paths(message: object) -> set[str]:
    """The paths of all faults of a message."""
    return {violation.field for violation in find_violations(message)}  # type: ignore[arg-type]


def test_a_message_that_keeps_its_rules_passes() -> None:
    """No violation is reported."""
    check(GetLabRequest(name="labs/1"))
    assert find_violations(GetLabRequest(name="labs/1")) == []


def test_all_faults_come_at_once() -> None:
    """A caller mends them in one go."""
    with pytest.raises(InvalidArgument) as caught:
        check(SetLabStandingRequest(name="", reason="r" * 501, request_id="no uuid"))
    found = caught.value.violations
    assert {violation.field for violation in found} == {"name", "standing", "reason", "request_id"}
    assert {violation.reason for violation in found} == {"INVALID_FIELD"}
    assert all(violation.description for violation in found)


def test_paths_lead_into_nested_and_repeated_fields() -> None:
    """Paths are written as a client would write them."""
    assert "document.number" in paths(LookupLatestRequest(document=IdentityDocument(type=CARD, number="!")))
    good = IdentityDocument(type=CARD, number="1")
    batch = BatchLookupLatestRequest(requests=[LookupLatestRequest(document=good, limit=-1)])
    assert paths(batch) <= {"requests[0].limit"}
    assert "sample_region" in paths(Tube(sample_region="x"))


def test_a_rule_about_a_message_as_such_has_no_path() -> None:
    """Such a rule names no field, because no single field is at fault."""
    backwards = Policy(effective_start_time=Timestamp(seconds=2), effective_end_time=Timestamp(seconds=1))
    (violation,) = [each for each in find_violations(backwards) if "effective" in each.description]
    assert violation.field == ""
    assert violation.description == "effective_end_time must be after effective_start_time"


def test_a_rule_has_the_same_words_wherever_it_is_stated() -> None:
    """The words are the same for the pattern of a message that is checked often and for a predefined rule."""
    texts = [
        violation.description
        for message in (Tube(sample_region="x"), ListLabsRequest(region="x"), Lab(region="x"))
        for violation in find_violations(message)
        if violation.field.endswith("region")
    ]
    assert texts == ["must be a region as its six digits of GB/T 2260, like 410105"] * 3


def test_a_time_out_of_all_calendars_is_described_in_words() -> None:
    """The first instant of the year 10000 is one; the second before it is not."""
    (violation,) = find_violations(SetLabStandingRequest(**GOOD, effective_time={"seconds": 253402300800}))
    assert violation.description == "must lie in the years 1900 to 9999"
    assert not find_violations(SetLabStandingRequest(**GOOD, effective_time={"seconds": 253402300799}))


def test_a_required_message_is_missed() -> None:
    """The violation names the field of the message."""
    assert "lab" in paths(CreateLabRequest())


@given(st.text(min_size=3, max_size=200))
def test_a_violation_never_holds_a_value(text: str) -> None:
    """The caller's words are not repeated, whatever rule they break."""
    marked = f"#SECRET#{text}"
    document = IdentityDocument(type=99, number=marked, issuing_country=marked, name=marked * 20)  # type: ignore[arg-type]
    for message in (
        LookupLatestRequest(document=document),
        Tube(tube_code="\x00" + marked, sample_region=marked, sample_site=marked * 30),
        SetLabStandingRequest(name=marked * 10, request_id=marked),
    ):
        found = find_violations(message)
        assert found
        assert not any("SECRET" in f"{violation}" for violation in found)


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(-2, 30)), max_size=6))
def test_messages_checked_together_fail_as_each_would_alone(items: list[tuple[str, int]]) -> None:
    """Violations have the same paths and words, each at its own item."""
    messages = [
        LookupLatestRequest(document=IdentityDocument(type=CARD, number=number), limit=limit) for number, limit in items
    ]
    together = check_each(BatchLookupLatestRequest(requests=messages))
    alone = [find_violations(message) for message in messages]
    assert [[] if error is None else list(error.violations) for error in together] == alone
