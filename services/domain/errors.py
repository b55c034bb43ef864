"""Typed errors. Only `services.runtime.server.status` converts them to a gRPC status.

Reasons are names of `hutong.error.v1.ErrorReason` without their prefix. No text of an error contains an identity. A
text keeps its template and its values, so that it can be translated into Chinese when a caller asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hutong_texts import Text, english

from services.domain.instant import SECOND, Span


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of a request.

    Attributes:
        field: the field's path.
        reason: a name from `hutong.error.v1.ErrorReason` without its prefix.
        description: what a person must know to correct the fault.
        subject: the resource or rule that was violated, if there is one.
    """

    field: str
    reason: str
    description: Text
    subject: str = ""


class HutongError(Exception):
    """A failure with a reason.

    Attributes:
        reason: a name from `hutong.error.v1.ErrorReason` without its prefix.
        message: the text for people.
        violations: the faults that caused the failure, at least one for InvalidArgument.
        metadata: the pairs that the reason's documentation lists.
        retry_after: how long to wait before a retry, in microseconds; None if no retry can help.
    """

    def __init__(
        self,
        reason: str,
        message: Text,
        *,
        violations: Sequence[Violation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after: Span | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


class InvalidArgument(HutongError):
    """The request is wrong, whatever the state of the system."""

    @classmethod
    def of(cls, violations: Sequence[Violation]) -> InvalidArgument:
        """Return the error for faulty fields, with the reason and the name of the first faulty field."""
        first = violations[0]
        message = english("{field}: {description}", field=first.field or "request", description=first.description)
        if len(violations) > 1:
            message = english("{first} (and {count} more)", first=message, count=len(violations) - 1)
        return cls(
            first.reason,
            message,
            violations=violations,
            metadata={"field": first.field},
        )

    @classmethod
    def field(cls, field: str, description: Text, reason: str = "INVALID_FIELD") -> InvalidArgument:
        """Return the error for one faulty field."""
        return cls.of((Violation(field, reason, description),))


class NotFound(HutongError):
    """The named resource does not exist here."""

    @classmethod
    def resource(cls, name: str) -> NotFound:
        """Return the error for one resource name."""
        return cls("NOT_FOUND", english("{name} is not known here", name=name), metadata={"resource": name})


class AlreadyExists(HutongError):
    """The resource to create already exists."""


class FailedPrecondition(HutongError):
    """The state of the system forbids the request. The same request may succeed once the state has changed."""


class OutOfRange(HutongError):
    """A position lies outside the existing range."""


class Unavailable(HutongError):
    """Something that the call needs cannot be reached now. A retry may help."""

    def __init__(
        self,
        reason: str,
        message: Text,
        *,
        violations: Sequence[Violation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after: Span | None = SECOND,
    ) -> None:
        super().__init__(reason, message, violations=violations, metadata=metadata, retry_after=retry_after)


class ResourceExhausted(Unavailable):
    """A limit is reached. A retry after the stated span helps."""


class DeadlineExceeded(HutongError):
    """The call's time ended before its work did."""


class PermissionDenied(HutongError):
    """The caller may not do this."""


class Unauthenticated(HutongError):
    """The caller is not known."""
