"""Failures with the details that the services give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2

from hutong_client.errors import Precondition
from hutong_client.errors.mapping import DOMAIN


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call ends.

    Attributes:
        code: the gRPC status code.
        reason: a name of `hutong.error.v1.ErrorReason` without its prefix.
        metadata: the entries that the reason's documentation lists. The path of the first field in `fields` is added as
            "field".
        retry_delay: the delay of RetryInfo; None for no RetryInfo. Without a delay gRPC does not repeat the call.
        fields: the faulty fields with their reasons.
        preconditions: the violated preconditions.
    """

    code: grpc.StatusCode
    reason: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_delay: timedelta | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    preconditions: Sequence[Precondition] = ()


def abort(context: grpc.ServicerContext, failure: Failure) -> NoReturn:
    """End a call."""
    status = status_pb2.Status(code=failure.code.value[0], message=failure.reason.lower().replace("_", " "))
    details = status.details
    metadata = dict(failure.metadata)
    if failure.fields:
        metadata.setdefault("field", next(iter(failure.fields)))
    details.add().Pack(error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=metadata))
    trailers: list[tuple[str, str | bytes]] = []
    if failure.retry_delay is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(failure.retry_delay)
        details.add().Pack(retry)
    if failure.fields:
        bad = error_details_pb2.BadRequest()
        for name, reason in failure.fields.items():
            bad.field_violations.add(field=name, reason=reason, description=reason.lower().replace("_", " "))
        details.add().Pack(bad)
    if failure.preconditions:
        failed = error_details_pb2.PreconditionFailure()
        for it in failure.preconditions:
            failed.violations.add(type=it.type, subject=it.subject, description=it.description)
        details.add().Pack(failed)
    trailers.append(("grpc-status-details-bin", status.SerializeToString()))
    if failure.code is grpc.StatusCode.UNAVAILABLE:
        trailers.append(("grpc-retry-pushback-ms", _pushback(failure.retry_delay, context.time_remaining())))
    context.set_trailing_metadata(tuple(trailers))
    context.abort(failure.code, status.message)
    raise AssertionError("abort returned")


def _pushback(delay: timedelta | None, seconds_left: float | None) -> str:
    """Return, as the services do, the milliseconds after which gRPC repeats the call; -1 if gRPC must not repeat it.

    gRPC must not repeat a call that has no delay, or one whose delay ends after the deadline.
    """
    if delay is None or (seconds_left is not None and delay.total_seconds() >= seconds_left):
        return "-1"
    return str(round(delay.total_seconds() * 1000))
