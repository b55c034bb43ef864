"""What can go wrong, as types. The domain raises them; `services.runtime.server.status` alone turns them into a status.

Reasons are names of `hutong.error.v1.ErrorReason` without their prefix. No text here ever holds an identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.domain.instant import SECOND, Span


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault: a field's path, a reason and what a person needs to mend it. `subject`: what was violated, if any."""

    field: str
    reason: str
    description: str
    subject: str = ""


class HutongError(Exception):
    """A failure that knows its reason.

    Attributes:
        reason: a name from `hutong.error.v1.ErrorReason` without its prefix.
        violations: the faults behind it, at least one for InvalidArgument.
        metadata: what the reason's documentation lists.
        retry_after: when a retry can help, in microseconds; None when it cannot.
    """

    def __init__(
        self,
        reason: str,
        message: str,
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
    """The request is at fault whatever the state of the world."""

    @classmethod
    def of(cls, violations: Sequence[Violation]) -> InvalidArgument:
        """The error for faulty fields, bearing the first one's reason and naming it in its text."""
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        return cls(
            first.reason,
            f"{first.field or 'request'}: {first.description}{more}",
            violations=violations,
            metadata={"field": first.field},
        )

    @classmethod
    def field(cls, field: str, description: str, reason: str = "INVALID_FIELD") -> InvalidArgument:
        """The error for one faulty field."""
        return cls.of((Violation(field, reason, description),))


class NotFound(HutongError):
    """The named resource is not known."""

    @classmethod
    def resource(cls, name: str) -> NotFound:
        """The error for one resource name."""
        return cls("NOT_FOUND", f"{name} is not known here", metadata={"resource": name})


class AlreadyExists(HutongError):
    """The resource to create is there already."""


class FailedPrecondition(HutongError):
    """The state of the world forbids it; the same request may succeed after a change."""


class OutOfRange(HutongError):
    """A position lies outside what there is."""


class Unavailable(HutongError):
    """Something needed cannot be reached now; a retry helps."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        violations: Sequence[Violation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after: Span | None = SECOND,
    ) -> None:
        super().__init__(reason, message, violations=violations, metadata=metadata, retry_after=retry_after)


class ResourceExhausted(Unavailable):
    """More is asked than can be given now; a retry after the stated span helps."""


class DeadlineExceeded(HutongError):
    """The time was over before the work was."""


class PermissionDenied(HutongError):
    """The caller may not do this."""
