"""Exceptions for failed calls, by gRPC's codes. The module `reasons` has the exceptions for the contract's reasons.

A decision such as "not recognised" or "no policy in force" is data in a response and never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import grpc


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
    """The details of a status, and the id of the call. A missing detail or id is empty."""

    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: Sequence[FieldViolation] = ()
    preconditions: Sequence[Precondition] = ()
    retry_delay: timedelta | None = None
    localized_message: str = ""
    request_id: str = ""


class HutongError(Exception):
    """A call that failed.

    Attributes:
        code: the gRPC status code.
        message: the service's text for people. The text never identifies a person.
        localized_message: the text in the language that the call asked for by `accept-language`, else empty.
        reason: a name of `hutong.error.v1.ErrorReason` without its prefix; empty if no Hutong service answered.
        metadata: the entries that the reason's documentation lists.
        field_violations: the first 20 faulty fields, for INVALID_ARGUMENT.
        preconditions: the violated preconditions, for FAILED_PRECONDITION.
        retry_delay: the duration after which a retry can help; None if the service gives no such duration.
        request_id: the `x-request-id` by which the call is found in the logs of the services; empty for an item of a
            batch.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, details: Details | None = None) -> None:
        super().__init__(message)
        self.details = details = details or Details()
        self.message = message
        self.reason = details.reason
        self.metadata = details.metadata
        self.field_violations = details.field_violations
        self.preconditions = details.preconditions
        self.retry_delay = details.retry_delay
        self.localized_message = details.localized_message
        self.request_id = details.request_id

    def __str__(self) -> str:
        """Return the message with the reason and the request id."""
        text = f"{self.message} ({self.reason})" if self.reason else self.message
        return f"{text}, request {self.request_id}" if self.request_id else text

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what copies and pickles of the exception are made of."""
        return type(self), (self.message, self.details)

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


class TlsFault(Unavailable):
    """The TLS handshake with the service failed: a certificate, a key or an address is wrong. A retry cannot help."""

    @property
    def can_be_retried(self) -> bool:
        """False."""
        return False


class ResourceExhausted(Retryable):
    """The service's capacity or the caller's quota is exhausted."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    @property
    def can_be_retried(self) -> bool:
        """True if the error has a reason.

        An error without a reason comes from gRPC itself, which refused a message that is too large.
        """
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
