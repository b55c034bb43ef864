"""Exceptions for failed calls, made from the google.rpc.Status that every Hutong service returns.

A decision such as "not recognised" or "no policy in force" is data in a response and never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

import grpc
from google.rpc import error_details_pb2, status_pb2
from hutong_texts import tr

DOMAIN = "hutong.org"
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A faulty field of a request: its path, a name of `hutong.error.v1.ErrorReason`, and what is expected.

    `localized_description` is the description in the language that the call asked for by `accept-language`, else empty.
    """

    field: str
    reason: str
    description: str
    localized_description: str = ""


@dataclass(frozen=True, slots=True)
class Precondition:
    """A violated precondition: its type, the resource name of its subject, and a description."""

    type: str
    subject: str
    description: str


@dataclass(frozen=True, slots=True)
class Details:
    """The details of a status; empty if it has none."""

    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: Sequence[FieldViolation] = ()
    preconditions: Sequence[Precondition] = ()
    retry_delay: timedelta | None = None
    localized_message: str = ""


class HutongError(Exception):
    """A call that failed.

    Attributes:
        code: the gRPC status code.
        message: the service's text for people. It never holds an identity.
        localized_message: the text in the language that the call asked for by `accept-language`, else empty.
        reason: a name of `hutong.error.v1.ErrorReason` without its prefix; empty if no Hutong service answered.
        metadata: the entries that the reason's documentation lists.
        field_violations: the first 20 faulty fields, for INVALID_ARGUMENT.
        preconditions: the violated preconditions, for FAILED_PRECONDITION.
        retry_delay: a retry can help after this duration; None if the service gives none.
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
        self.localized_message = details.localized_message

    @property
    def shown_message(self) -> str:
        """The text in the language that was asked for, else in English."""
        return self.localized_message or self.message

    @property
    def can_be_retried(self) -> bool:
        """Whether the same call can succeed later, unchanged."""
        return False


class InvalidArgument(HutongError):
    """The request is faulty, whatever the state of the service."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(HutongError):
    """The named resource is unknown to the service."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(HutongError):
    """The resource to create exists already, with other content."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(HutongError):
    """The state of the service's data forbids the call."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class OutOfRange(HutongError):
    """A cursor or offset is outside the range that the service holds."""

    code = grpc.StatusCode.OUT_OF_RANGE


class PermissionDenied(HutongError):
    """The caller is not allowed to make this call."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(HutongError):
    """The service cannot identify the caller."""

    code = grpc.StatusCode.UNAUTHENTICATED


class NotServed(HutongError):
    """The service does not serve the method."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Retryable(HutongError):
    """A transient failure. Nothing is wrong with the call itself."""

    @property
    def can_be_retried(self) -> bool:
        """True."""
        return True


class Unavailable(Retryable):
    """The service, or a service or database that it needs, cannot be reached now."""

    code = grpc.StatusCode.UNAVAILABLE


class ResourceExhausted(Retryable):
    """The service's capacity or the caller's quota is exhausted."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    @property
    def can_be_retried(self) -> bool:
        """True if the error has a reason. Without one, gRPC itself has refused a message that is too large."""
        return bool(self.reason)


class DeadlineExceeded(Retryable):
    """The call did not finish before its deadline."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class ConnectionCut(Retryable):
    """The call ended without an answer, because a process was killed or a proxy closed the connection."""

    code = grpc.StatusCode.UNKNOWN


class Internal(HutongError):
    """A fault of the service. Its log has the details under the request id in the metadata."""

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
# gRPC reports these codes if a connection breaks during a call. A service that returns one of them adds a reason.
_CUT = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED})


def from_rpc_error(error: grpc.RpcError) -> HutongError:
    """Return the exception for a failed call, of the synchronous or the asyncio API."""
    code, text = grpc.StatusCode.UNKNOWN, ""
    trailers: dict[str, str | bytes] = {}
    # The asyncio API's error is no grpc.Call, although it has the same methods.
    if isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        code, text = error.code(), error.details() or ""
        trailers = dict(error.trailing_metadata() or ())
    packed = trailers.get(_DETAILS_KEY)
    details = _details(status_pb2.Status.FromString(packed)) if isinstance(packed, bytes) else Details()
    return _build(code, text, details)


def from_status(status: status_pb2.Status) -> HutongError:
    """Return the exception for an error item of a batch."""
    return _build(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, _details(status))


def _build(code: grpc.StatusCode, text: str, details: Details) -> HutongError:
    if code in _CUT and not details.reason:
        return ConnectionCut(text or tr("the connection was cut"), details)
    return _KINDS.get(code, HutongError)(text or code.name, details)


def _details(status: status_pb2.Status) -> Details:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    failure, retry = error_details_pb2.PreconditionFailure(), error_details_pb2.RetryInfo()
    localized = error_details_pb2.LocalizedMessage()
    retry_delay: timedelta | None = None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
        detail.Unpack(failure)
        detail.Unpack(localized)
        if detail.Unpack(retry):
            retry_delay = retry.retry_delay.ToTimedelta()
    is_ours = info.domain == DOMAIN
    return Details(
        reason=info.reason if is_ours else "",
        metadata=dict(info.metadata) if is_ours else {},
        field_violations=tuple(
            FieldViolation(it.field, it.reason, it.description, it.localized_message.message)
            for it in bad.field_violations
        ),
        preconditions=tuple(Precondition(it.type, it.subject, it.description) for it in failure.violations),
        retry_delay=retry_delay,
        localized_message=localized.message,
    )
