"""Errors as statuses: codes, details, and no more bytes than the trailers bear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hutong_texts import english, join
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from services.domain import errors
from services.domain.errors import HutongError, InvalidArgument, Violation
from services.domain.instant import SECOND
from services.runtime.call import Call, current_call
from services.runtime.server.status import INTERNAL_TEXT, MAX_DETAIL_BYTES, MAX_VIOLATIONS, grpc_code, to_status

D = TypeVar("D", bound=Message)


def details(status: status_pb2.Status, kind: type[D]) -> list[D]:
    """All details of a kind."""
    found = []
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            found.append(detail)
    return found


def info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    """The one ErrorInfo."""
    (only,) = details(status, error_details_pb2.ErrorInfo)
    return only


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InvalidArgument, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.NotFound, grpc.StatusCode.NOT_FOUND),
        (errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
        (errors.FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.OutOfRange, grpc.StatusCode.OUT_OF_RANGE),
        (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
        (errors.ResourceExhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    ],
)
def test_every_error_has_its_code(kind: type[HutongError], code: grpc.StatusCode) -> None:
    """Every error has its reason, this system's domain and its metadata in exactly one ErrorInfo."""
    status = to_status(kind("SOME_REASON", "some text", metadata={"field": "lab"}))
    assert grpc_code(status) is code
    assert status.message == "some text"
    assert (info(status).reason, info(status).domain) == ("SOME_REASON", "hutong.org")
    assert dict(info(status).metadata) == {"field": "lab"}


def test_every_kind_of_error_is_known() -> None:
    """A kind that is added without a code would silently be INTERNAL."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HutongError)]
    unknown = [kind for kind in kinds if to_status(kind("R", "text")).code == code_pb2.INTERNAL]
    assert unknown == [HutongError]


def test_an_unexpected_exception_says_nothing_of_itself() -> None:
    """INTERNAL, a fixed text and the request id; its own words go to the log with the traceback."""
    with capture_logs() as logs:
        status = to_status(ValueError("Zhang San's card 4101"), "request-7")
    assert status.code == code_pb2.INTERNAL
    assert status.message == INTERNAL_TEXT
    assert info(status).reason == "INTERNAL"
    assert dict(info(status).metadata) == {"request_id": "request-7"}
    assert b"Zhang" not in status.SerializeToString()
    assert [(line["log_level"], line["request_id"]) for line in logs] == [("error", "request-7")]
    assert isinstance(logs[0]["exc_info"], ValueError)


def test_expected_errors_are_not_logged_here() -> None:
    """The access log has them; an attacker's bad requests fill no second log."""
    with capture_logs() as logs:
        to_status(InvalidArgument.field("lab", "is wrong"))
    assert logs == []


def test_unavailable_and_exhausted_say_when_to_come_back() -> None:
    """RetryInfo where a retry helps, and only there."""
    for kind, after in ((errors.Unavailable, 3 * SECOND), (errors.ResourceExhausted, SECOND // 4)):
        (retry,) = details(to_status(kind("R", "text", retry_after=after)), error_details_pb2.RetryInfo)
        assert retry.retry_delay.ToMicroseconds() == after
    assert details(to_status(errors.Unavailable("R", "text")), error_details_pb2.RetryInfo)
    assert not details(to_status(errors.NotFound.resource("labs/1")), error_details_pb2.RetryInfo)
    assert not details(to_status(errors.Unavailable("R", "text", retry_after=None)), error_details_pb2.RetryInfo)


def test_what_is_not_found_is_named_as_a_resource() -> None:
    """ResourceInfo with our type and its name."""
    (resource,) = details(to_status(errors.NotFound.resource("labs/1")), error_details_pb2.ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == ("hutong.org/labs", "labs/1")


def test_faulty_fields_are_a_bad_request() -> None:
    """Each with its path, its reason and what to do; the first gives the whole its reason and text."""
    status = to_status(
        InvalidArgument.of([Violation("lab", "BAD_USCC", "is wrong"), Violation("region", "REGION_UNKNOWN", "unknown")])
    )
    (bad,) = details(status, error_details_pb2.BadRequest)
    assert [(one.field, one.reason, one.description) for one in bad.field_violations] == [
        ("lab", "BAD_USCC", "is wrong"),
        ("region", "REGION_UNKNOWN", "unknown"),
    ]
    assert info(status).reason == "BAD_USCC"
    assert status.message == "lab: is wrong (and 1 more)"


def test_a_fault_of_no_single_field_reads_well() -> None:
    """A rule over the whole message has no path."""
    assert to_status(InvalidArgument.field("", "one of lab and document")).message == "request: one of lab and document"


def test_breaches_are_a_precondition_failure() -> None:
    """The subject is what was violated, or the field if nothing is named."""
    status = to_status(
        errors.FailedPrecondition(
            "POLICY_BREACH",
            "the policy breaks two floors",
            violations=[
                Violation("channels", "FLOOR", "paper must be accepted", subject="jurisdictions/000000/policies/81@1"),
                Violation("advice", "FLOOR", "too long"),
            ],
        )
    )
    (failure,) = details(status, error_details_pb2.PreconditionFailure)
    assert [(one.type, one.subject) for one in failure.violations] == [
        ("FLOOR", "jurisdictions/000000/policies/81@1"),
        ("FLOOR", "advice"),
    ]
    assert not details(status, error_details_pb2.BadRequest)


def test_the_first_twenty_faults_are_reported() -> None:
    """A caller that corrects twenty at a time comes to an end."""
    status = to_status(InvalidArgument.of([Violation(f"f{n}", "R", "d") for n in range(500)]))
    (bad,) = details(status, error_details_pb2.BadRequest)
    assert [one.field for one in bad.field_violations] == [f"f{n}" for n in range(MAX_VIOLATIONS)]
    assert "(and 499 more)" in status.message


texts = st.builds(lambda piece, times: piece * times, st.text(min_size=1, max_size=4), st.integers(0, 3000))


@given(
    st.sampled_from([errors.InvalidArgument, errors.FailedPrecondition, errors.Unavailable]),
    texts,
    st.integers(0, 500),
    texts,
    texts,
    st.dictionaries(st.sampled_from(["field", "resource", "expected", "lab", "what", "limit", "other"]), texts),
)
def test_details_stay_under_four_kibibytes(
    kind: type[HutongError], message: str, count: int, path: str, text: str, metadata: dict[str, str]
) -> None:
    """The limit holds for any paths, texts, metadata and number of faults. At least one fault is always reported."""
    faults = [Violation(f"{n}{path}", "REASON", text, subject=path) for n in range(count)]
    status = to_status(kind("REASON", message, violations=faults, metadata=metadata))
    assert status.ByteSize() <= MAX_DETAIL_BYTES
    assert info(status).reason == "REASON"
    told = [len(one.field_violations) for one in details(status, error_details_pb2.BadRequest)] + [
        len(one.violations) for one in details(status, error_details_pb2.PreconditionFailure)
    ]
    assert told == [] if not faults else 1 <= told[0] <= min(count, MAX_VIOLATIONS)


def test_what_is_cut_is_seen_to_be_cut() -> None:
    """A text is cut between characters and gets an ellipsis. A text that is short enough is unchanged."""
    status = to_status(errors.NotFound("NOT_FOUND", "x", metadata={"resource": "labs/" + "检" * 1000, "b": "检" * 66}))
    assert info(status).metadata["resource"].endswith("检…")
    assert len(info(status).metadata["resource"].encode()) <= 200
    assert info(status).metadata["b"] == "检" * 66


@pytest.fixture
def chinese() -> Iterator[None]:
    """Serve a call of a caller that reads Chinese."""
    token = current_call.set(Call("1", accept_language="zh-CN,en;q=0.5"))
    yield
    current_call.reset(token)


def test_english_is_all_unless_chinese_is_asked_for() -> None:
    """Without a call, or for a caller that states no language, no text is translated."""
    error = InvalidArgument.field("region", english("is not a region of GB/T 2260"))
    plain = to_status(error)
    assert not details(plain, error_details_pb2.LocalizedMessage)
    token = current_call.set(Call("1", accept_language="en-GB"))
    assert to_status(error) == plain
    current_call.reset(token)


@pytest.mark.usefixtures("chinese")
def test_chinese_stands_beside_the_english() -> None:
    """The status and each violation have their Chinese; the English, the reason and the metadata are as ever."""
    violations = [
        Violation(f"a[{n}]", "INVALID_FIELD", english("must have at most {most} items", most=n)) for n in (1, 2)
    ]
    status = to_status(InvalidArgument.of(violations))
    assert status.message == "a[1]: must have at most 1 items (and 1 more)"
    (message,) = details(status, error_details_pb2.LocalizedMessage)
    assert (message.locale, message.message) == ("zh-CN", "a[1]：最多1项（另有1项）")
    (bad,) = details(status, error_details_pb2.BadRequest)
    assert [it.localized_message.message for it in bad.field_violations] == ["最多1项", "最多2项"]
    assert [it.description for it in bad.field_violations] == ["must have at most 1 items", "must have at most 2 items"]


@pytest.mark.usefixtures("chinese")
def test_breaches_are_in_the_one_chinese_message() -> None:
    """A PreconditionFailure has no place for a translation."""
    violations = [Violation("start.lab", "LAB_UNKNOWN", english("register it with LabService.CreateLab"), "labs/1")]
    message = english("{name} is not registered at this node", name="labs/1")
    (localized,) = details(
        to_status(errors.FailedPrecondition("LAB_UNKNOWN", message, violations=violations)),
        error_details_pb2.LocalizedMessage,
    )
    assert localized.message == "labs/1 没有在本节点登记；请用 LabService.CreateLab 登记"


@pytest.mark.usefixtures("chinese")
def test_details_in_both_languages_stay_under_four_kibibytes() -> None:
    """Fewer violations are sent instead."""
    text = english("undercuts {floor}: {override}, since {since}", floor="x" * 150, override="y" * 150, since="z")
    for kind in (InvalidArgument, errors.FailedPrecondition):
        many = [Violation(f"field[{n}]", "INVALID_FIELD", text, "s" * 100) for n in range(40)]
        status = to_status(kind("POLICY_BREACH", join(it.description for it in many), violations=many))
        assert status.ByteSize() <= MAX_DETAIL_BYTES
        assert details(status, error_details_pb2.LocalizedMessage)
