"""Client library of Hutong: connect to a node, resume interrupted uploads, and map failed calls to exceptions.

    from hutong_client import connect

    with connect() as node:
        decision = node.verification.Verify(request).decision

The messages and stubs are in the package `hutong`, which is generated from the contract.
"""

from hutong_client.connection import Connection, Tls, connect
from hutong_client.errors import (
    AlreadyExists,
    ConnectionCut,
    DeadlineExceeded,
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
    from_rpc_error,
    from_status,
    reasons,
)
from hutong_client.gate_stream import stream_answers
from hutong_client.gates import lets_in
from hutong_client.paging import all_pages
from hutong_client.retry import RetryPolicy
from hutong_client.upload import Acknowledged, Batch, Totals, UploadLost, UploadSession, batches_of
from hutong_client.watches import watch

__all__ = [
    "Acknowledged",
    "AlreadyExists",
    "Batch",
    "Connection",
    "ConnectionCut",
    "DeadlineExceeded",
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
    "RetryPolicy",
    "Retryable",
    "Tls",
    "TlsFault",
    "Totals",
    "Unauthenticated",
    "Unavailable",
    "UploadLost",
    "UploadSession",
    "all_pages",
    "batches_of",
    "connect",
    "from_rpc_error",
    "from_status",
    "lets_in",
    "reasons",
    "stream_answers",
    "watch",
]
