"""The words for the contract's rules that a clerk reads."""

from __future__ import annotations

import re

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.upload_pb2 import Rejection, Tube, TubePerson
from hutong.type.v1.identity_pb2 import IdentityDocument
from hutong_client.tables.batches import Origin
from hutong_client.tables.rejected.rejects import find_rejected
from hutong_client.tables.rejected.wording import explain_rule, name_reason
from hutong_client.tables.rows import Row
from hutong_client.tables.tubes import ReadTube

from services.runtime.server.validation import find_violations

LONG = "\n" + "/" * 300
BROKEN = {
    "set wrongly": Tube(
        tube_code=LONG,
        pool_size=99,
        specimen=77,  # type: ignore[arg-type]
        method=77,  # type: ignore[arg-type]
        outcome=77,  # type: ignore[arg-type]
        sample_region="x",
        sample_site=LONG,
        sample_time=Timestamp(seconds=5),
        persons=[
            TubePerson(
                document=IdentityDocument(type=77, number=LONG, issuing_country="x", name=LONG),  # type: ignore[arg-type]
                report_number=LONG,
            )
        ],
    ),
    "missing": Tube(persons=[TubePerson(document=IdentityDocument())]),
    "without documents": Tube(persons=[TubePerson()]),
    "without persons": Tube(),
    "with too many persons": Tube(persons=[TubePerson()] * 21),
}


@pytest.mark.parametrize("tube", BROKEN.values(), ids=list(BROKEN))
def test_every_broken_rule_reads_as_plain_words(tube: Tube) -> None:
    """No expression, no name of a type, and each cell's fault once."""
    persons = len(tube.persons) or 1
    rows = [Row(number, {}, ()) for number in range(2, 2 + persons)]
    rejection = Rejection(tube_index=0, person_index=-1)
    for fault in find_violations(tube):
        rejection.violations.add(field=fault.field, reason=fault.reason, description=fault.description)
    assert rejection.violations
    for rejected in find_rejected(Origin([ReadTube(tube, rows)]), [rejection]):
        told = [(fault.column, fault.description) for fault in rejected.faults]
        assert len(told) == len(set(told))
        assert not [text for _, text in told if re.search(r"regex|\bvalue\b|item\(s\)|enum|\^|must be", text)]


def ruled_paths(kind: Descriptor, within: str = "") -> set[str]:
    """The paths of all fields with a rule, those of a person's without the person."""
    paths: set[str] = set()
    for field in kind.fields:
        path = f"{within}{field.name}"
        if field.GetOptions().HasExtension(validate_pb2.field):  # type: ignore[arg-type]
            paths.add(path)
        if field.message_type and field.message_type.full_name.startswith("hutong."):
            paths |= ruled_paths(field.message_type, "" if field.name == "persons" else f"{path}.")
    return paths


def test_every_field_with_a_rule_has_words() -> None:
    """A rule that is added to the contract later must not come out as an expression."""
    assert not [path for path in ruled_paths(Tube.DESCRIPTOR) if "regex" in explain_rule(path, "does not match regex")]


def test_other_words_of_a_service_stay() -> None:
    """A service says more than a rule can."""
    assert explain_rule("report_time", "is too early") == "is too early"
    assert explain_rule("nobody.knows", "value is required") == "value is required"


@pytest.mark.parametrize(
    ("path", "reason", "description", "words"),
    [
        ("outcome", "POOL_MISMATCH", "a single tube is reported POSITIVE", "混管阳性"),
        ("report_time", "TIMES_OUT_OF_ORDER", "is before receive_time", "收样"),
        ("report_number", "CONFLICT", "use CorrectResult to change it", "check the number"),
        ("item", "CONFLICT", "stored with items/x; use CorrectResult to change its item", "stored with items/x"),
        ("sample_site", "CONFLICT", "differs; use CorrectResult to change it", "another value here"),
        ("document", "CONFLICT", "each report needs a number of its own", "another document"),
    ],
)
def test_descriptions_for_programs_become_words_for_clerks(
    path: str, reason: str, description: str, words: str
) -> None:
    """No name of a field, a value or a call of the contract is left."""
    text = explain_rule(path, description, reason)
    assert words in text
    assert not re.search(r"[A-Z]{4}|_time|CorrectResult", text)


def test_reasons_have_names() -> None:
    """A reason without a name is shown as it is."""
    assert "in one tube" in name_reason("POOL_MISMATCH")
    assert name_reason("SOMETHING_NEW") == "SOMETHING_NEW"
