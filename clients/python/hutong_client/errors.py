"""Failed calls as exceptions, made from the google.rpc.Status that every Hutong service answers with.

A verdict ("not recognised", "no policy in force") is data in a response and never one of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

import grpc
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "hutong.org"
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One faulty field of a request: its path, a name of `hutong.error.v1.ErrorReason`, and what is expected."""

    field: str
    reason: str
    description: str


@dataclass(frozen=True, slots=True)
class Precondition:
    """One thing that stands against a request: its kind, what it is (a resource name), and why."""

    type: str
    subject: str
    description: str


@dataclass(frozen=True, slots=True)
class Details:
    """What rode along with a status; empty where nothing did."""

    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: Sequence[FieldViolation] = ()
    preconditions: Sequence[Precondition] = ()
    retry_delay: timedelta | None = None


class HutongError(Exception):
    """A call that failed.

    Attributes:
        code: the gRPC status code.
        message: the service's text, for a person; never holds an identity.
        reason: a name of `hutong.error.v1.ErrorReason` without its prefix; empty when no Hutong service answered.
        metadata: what the reason's documentation lists.
        field_violations: the faulty fields, for INVALID_ARGUMENT; the first 20.
        preconditions: what stands against it, for FAILED_PRECONDITION.
        retry_delay: after this span a retry can help; None when the service does not say.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, details: Details | None = None) -> None:
        super().__init__(message)
        details = details or Details()
        self.message = message
        self.reason = details.reason
        self.metadata = details.metadata
        self.field_violations = details.field_violations
        self.preconditions = details.preconditions
        self.retry_delay = details.retry_delay

    @property
    def can_be_retried(self) -> bool:
        """Whether the same call can succeed later without anything being changed."""
        return False


class InvalidArgument(HutongError):
    """The request is at fault whatever the state of the world."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(HutongError):
    """The named resource is not known there."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(HutongError):
    """The resource to create is there already, with other content."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(HutongError):
    """The state of the world forbids it."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class OutOfRange(HutongError):
    """A position lies outside what there is."""

    code = grpc.StatusCode.OUT_OF_RANGE


class PermissionDenied(HutongError):
    """The caller may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(HutongError):
    """The service does not know who calls."""

    code = grpc.StatusCode.UNAUTHENTICATED


class NotServed(HutongError):
    """The method is not served there."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Retryable(HutongError):
    """A failure that passes: nothing is wrong with the call itself."""

    @property
    def can_be_retried(self) -> bool:
        """True."""
        return True


class Unavailable(Retryable):
    """The service, or something that it needs, cannot be reached now."""

    code = grpc.StatusCode.UNAVAILABLE


class ResourceExhausted(Retryable):
    """More is asked than the service can give now, or than the caller's share."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    @property
    def can_be_retried(self) -> bool:
        """Only when a service says so: without a reason it is gRPC's own refusal of a message that is too large."""
        return bool(self.reason)


class DeadlineExceeded(Retryable):
    """The call's time was over before its work was."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class ConnectionCut(Retryable):
    """The call ended without any service answering: a process was killed, or something in between gave up."""

    code = grpc.StatusCode.UNKNOWN


class Internal(HutongError):
    """A fault of the service; its log has the rest under the request id in the metadata."""

    code = grpc.StatusCode.INTERNAL


_KINDS: dict[grpc.StatusCode, type[HutongError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        OutOfRange,
        PermissionDenied,
        Unauthenticated,
        NotServed,
        Unavailable,
        ResourceExhausted,
        DeadlineExceeded,
        Internal,
    )
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
# What gRPC itself reports of a connection that broke in the middle of a call. A service that means one of these sends
# its reason along.
_CUT = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED})


def from_rpc_error(error: grpc.RpcError) -> HutongError:
    """The exception of a failed call."""
    code, text = grpc.StatusCode.UNKNOWN, ""
    trailers: dict[str, str | bytes] = {}
    if isinstance(error, grpc.Call):
        code, text = error.code(), error.details() or ""
        trailers = dict(error.trailing_metadata() or ())
    packed = trailers.get(_DETAILS_KEY)
    details = _details(status_pb2.Status.FromString(packed)) if isinstance(packed, bytes) else Details()
    return _build(code, text, details)


def from_status(status: status_pb2.Status) -> HutongError:
    """The exception of one item of a batch that was answered by an error."""
    return _build(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, _details(status))


def _build(code: grpc.StatusCode, text: str, details: Details) -> HutongError:
    if code in _CUT and not details.reason:
        return ConnectionCut(text or "the connection was cut", details)
    return _KINDS.get(code, HutongError)(text or code.name, details)


def _details(status: status_pb2.Status) -> Details:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    failure, retry = error_details_pb2.PreconditionFailure(), error_details_pb2.RetryInfo()
    retry_delay: timedelta | None = None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
        detail.Unpack(failure)
        if detail.Unpack(retry):
            retry_delay = retry.retry_delay.ToTimedelta()
    return Details(
        reason=info.reason if info.domain == DOMAIN else "",
        metadata=dict(info.metadata),
        field_violations=tuple(FieldViolation(it.field, it.reason, it.description) for it in bad.field_violations),
        preconditions=tuple(Precondition(it.type, it.subject, it.description) for it in failure.violations),
        retry_delay=retry_delay,
    )
