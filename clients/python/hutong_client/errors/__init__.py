"""Exceptions for failed calls, made from the google.rpc.Status that every Hutong service returns.

An exception is of two classes: the class of its gRPC code (`OutOfRange`) and that of its reason
(`reasons.CursorTooOld`).
"""

from __future__ import annotations

from hutong_client.errors import reasons
from hutong_client.errors.kinds import (
    AlreadyExists,
    ConnectionCut,
    DeadlineExceeded,
    Details,
    FailedPrecondition,
    FieldViolation,
    HutongError,
    Internal,
    InvalidArgument,
    NotFound,
    NotServed,
    OutOfRange,
    PermissionDenied,
    Precondition,
    ResourceExhausted,
    Retryable,
    TlsFault,
    Unauthenticated,
    Unavailable,
)
from hutong_client.errors.mapping import from_rpc_error, from_status

__all__ = [
    "AlreadyExists",
    "ConnectionCut",
    "DeadlineExceeded",
    "Details",
    "FailedPrecondition",
    "FieldViolation",
    "HutongError",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "NotServed",
    "OutOfRange",
    "PermissionDenied",
    "Precondition",
    "ResourceExhausted",
    "Retryable",
    "TlsFault",
    "Unauthenticated",
    "Unavailable",
    "from_rpc_error",
    "from_status",
    "reasons",
]
