"""Messages in columns keep the contract's rules exactly if the engine finds no violation. Unknown rules are noticed."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor
from hutong.results.v1 import results_service_pb2, upload_pb2, upload_service_pb2
from hutong.type.v1 import identity_pb2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.results.upload.convert import keeps_every_rule, persons_from_proto, tube_from_proto
from services.runtime.server.column_rules import ColumnRules
from services.runtime.server.validation import find_violations
from tests.support.results.factories import make_tube

PARTS = [
    "",
    "A",
    "1",
    "0" * 6,
    "x" * 31,
    "x" * 32,
    "x" * 64,
    " ",
    "-",
    "(",
    "/",
    "@",
    "\n",
    "\x1f",
    "\x7f",
    "\x80",
    "张",
]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=8).map("".join) | st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-2, 22)
OF_TUBE = {
    **dict.fromkeys(("tube_code", "sample_region", "sample_site"), TEXTS),
    **dict.fromkeys(("pool_size", "specimen", "method", "outcome"), NUMBERS),
    "item": TEXTS | TEXTS.map("items/{}".format),
}
OF_DOCUMENT = {
    "type": NUMBERS,
    "number": TEXTS,
    "name": TEXTS,
    "issuing_country": TEXTS | st.sampled_from(["CHN", "JP"]),
}


def keeps(*tubes: upload_pb2.Tube, offset: int = 0) -> bool:
    batch = upload_pb2.TubeBatch(tubes=tubes, offset=offset)
    return keeps_every_rule(batch, list(map(tube_from_proto, tubes)), persons_from_proto(tubes))


def violations(*tubes: upload_pb2.Tube, offset: int = 0) -> int:
    return len(find_violations(upload_pb2.TubeBatch(tubes=tubes, offset=offset)))


def changed(field: str, value: object) -> upload_pb2.Tube:
    """Return a valid tube of two persons with one value changed."""
    tube = make_tube(0, 2)
    *parents, name = field.split(".")
    of: object = tube
    for parent in parents:
        of = tube.persons[1] if parent == "persons" else getattr(of, parent)
    setattr(of, name, value)
    return tube


@pytest.mark.parametrize(
    ("field", "values"),
    [
        *OF_TUBE.items(),
        *((f"persons.document.{name}", values) for name, values in OF_DOCUMENT.items()),
        ("persons.report_number", TEXTS),
    ],
)
@settings(max_examples=60)
@given(data=st.data())
def test_a_value_keeps_the_rules_exactly_if_the_engine_finds_no_violation(
    field: str, values: st.SearchStrategy[object], data: st.DataObject
) -> None:
    """Every value is in the second tube of a batch, so that the columns have good values before it."""
    tube = changed(field, data.draw(values))
    assert keeps(make_tube(9), tube) is (violations(make_tube(9), tube) == 0)


@pytest.mark.parametrize(
    ("field", "longest"),
    [
        ("tube_code", 64),
        ("sample_site", 200),
        ("persons.report_number", 64),
        ("persons.document.number", 32),
        ("persons.document.name", 128),
    ],
)
def test_a_text_may_be_as_long_as_the_engine_allows(field: str, longest: int) -> None:
    for letter in ("x", "张")[: 1 if field.endswith("number") else 2]:
        assert [keeps(changed(field, letter * length)) for length in (longest, longest + 1)] == [True, False]
        assert [violations(changed(field, letter * length)) for length in (longest, longest + 1)] == [0, 1]


@settings(max_examples=60)
@given(seconds=st.integers(1_575_129_597, 1_575_129_602), nanos=st.integers(-(2**31), 2**31 - 1))
@example(seconds=1_575_129_600, nanos=0)
@example(seconds=1_575_129_599, nanos=999_999_999)
@example(seconds=1_575_129_599, nanos=2_000_000_000)
def test_a_time_keeps_its_rule_exactly_if_it_does_for_the_engine(seconds: int, nanos: int) -> None:
    """Nanoseconds may exceed a second or be negative, which is no valid Timestamp."""
    tube = make_tube(0)
    tube.sample_time.seconds, tube.sample_time.nanos = seconds, nanos
    assert keeps(tube) is (violations(tube) == 0)


@pytest.mark.parametrize("field", ["sample_time", "receive_time", "test_time", "report_time", "persons"])
def test_a_field_may_be_missing_only_where_the_engine_allows_it(field: str) -> None:
    tube = make_tube(0)
    tube.ClearField(field)  # type: ignore[arg-type] # each is a field of a tube
    assert keeps(tube) is (violations(tube) == 0)


def test_a_person_without_a_document_and_a_tube_with_too_many_persons_keep_no_rule() -> None:
    without = make_tube(0, 2)
    without.persons[1].ClearField("document")
    for tube in (without, make_tube(0, 21, pool_size=20)):
        assert not keeps(tube)
        assert violations(tube)
    assert not keeps(make_tube(0), offset=-1)
    assert violations(make_tube(0), offset=-1)


def test_a_usual_batch_needs_no_engine() -> None:
    assert keeps(make_tube(0), make_tube(1, 10), make_tube(11, sampled=1_660_000_000_000_000))


@pytest.mark.parametrize(
    "message",
    [
        upload_pb2.UploadStart.DESCRIPTOR,
        upload_service_pb2.UploadResultsRequest.DESCRIPTOR,
        results_service_pb2.ListResultsRequest.DESCRIPTOR,
        upload_pb2.TubePerson.DESCRIPTOR,
    ],
    ids=lambda message: message.name,
)
def test_a_rule_that_is_not_known_leaves_every_message_to_the_engine(message: Descriptor) -> None:
    """Predefined rules, a oneof, rules of a message, and a field whose message has rules of its own."""
    rules = ColumnRules(message)
    assert not rules.are_known
    assert not rules.are_kept({})


def test_the_rules_of_uploads_are_known() -> None:
    of_upload = (upload_pb2.TubeBatch, {"tubes"}), (upload_pb2.Tube, ()), (upload_pb2.TubePerson, {"document"})
    for message, elsewhere in (*of_upload, (identity_pb2.IdentityDocument, ())):
        assert ColumnRules(message.DESCRIPTOR, elsewhere).are_known, message.DESCRIPTOR.name
