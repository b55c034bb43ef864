"""Makes exceptions from the status of failed calls."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from hutong_texts import tr

from hutong_client.errors import kinds
from hutong_client.errors.kinds import Details, FieldViolation, HutongError, Precondition
from hutong_client.errors.reasons import BY_REASON
from hutong_client.errors.tls import describe_tls_fault, explain_closed

DOMAIN = "hutong.org"
REQUEST_ID = "x-request-id"
"""The metadata key of a call's id."""
_DETAILS_KEY = "grpc-status-details-bin"
_KINDS: dict[grpc.StatusCode, type[HutongError]] = {
    kind.code: kind
    for kind in (
        kinds.InvalidArgument,
        kinds.NotFound,
        kinds.AlreadyExists,
        kinds.FailedPrecondition,
        kinds.OutOfRange,
        kinds.PermissionDenied,
        kinds.Unauthenticated,
        kinds.NotServed,
        kinds.Unavailable,
        kinds.ResourceExhausted,
        kinds.DeadlineExceeded,
        kinds.Internal,
    )
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
# gRPC reports these codes if a connection breaks during a call. A service that returns one of them adds a reason.
_CUT = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED})


def from_rpc_error(error: grpc.RpcError, request_id: str = "") -> HutongError:
    """Return the exception for a failed call, of the synchronous or the asyncio API.

    Args:
        error: gRPC's error.
        request_id: the id with which the call was sent. If the service returns an id, the service's id is used instead.
    """
    code, text = grpc.StatusCode.UNKNOWN, ""
    trailers: dict[str, str | bytes] = {}
    # The error of the asyncio API has the methods of grpc.Call, but is not an instance of it.
    if isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        code, text = error.code(), error.details() or ""
        trailers = dict(error.trailing_metadata() or ())
    packed = trailers.get(_DETAILS_KEY)
    details = _details(status_pb2.Status.FromString(packed)) if isinstance(packed, bytes) else Details()
    returned = trailers.get(REQUEST_ID)
    return _build(code, text, replace(details, request_id=returned if isinstance(returned, str) else request_id))


def from_status(status: status_pb2.Status) -> HutongError:
    """Return the exception for an error item of a batch."""
    return _build(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, _details(status))


def _build(code: grpc.StatusCode, text: str, details: Details) -> HutongError:
    if not details.reason:
        if code in _CUT:
            return kinds.ConnectionCut(text or tr("the connection was cut"), details)
        if code is grpc.StatusCode.UNAVAILABLE:
            if fault := describe_tls_fault(text):
                return kinds.TlsFault(fault, details)
            text = explain_closed(text)
    return _class_of(code, details.reason)(text or code.name, details)


@cache
def _class_of(code: grpc.StatusCode, reason: str) -> type[HutongError]:
    """Return the class for a code and a reason.

    If this version does not know the reason, the class is that of the code alone.
    """
    of_code, of_reason = _KINDS.get(code, HutongError), BY_REASON.get(reason)
    if of_reason is None:
        return of_code
    if of_code is HutongError:
        return of_reason
    members = {"__doc__": of_reason.__doc__, "__module__": of_reason.__module__, "__reduce__": _reduce}
    return type(of_reason.__name__, (of_reason, of_code), members)


def _reduce(error: HutongError) -> tuple[Any, ...]:
    """Return what copies and pickles are made of, for an exception that is of two classes."""
    return _build, (error.code, error.message, error.details)


def _details(status: status_pb2.Status) -> Details:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    failure, retry = error_details_pb2.PreconditionFailure(), error_details_pb2.RetryInfo()
    localized = error_details_pb2.LocalizedMessage()
    retry_delay = None
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
