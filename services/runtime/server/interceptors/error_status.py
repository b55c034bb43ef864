"""Error status: turns any error of a call into a status with details. Only this layer may catch every exception."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hutong_texts import english

from services.domain.errors import HutongError, Unavailable
from services.domain.instant import SECOND
from services.runtime.call import REQUEST_ID, Call, current_call
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler
from services.runtime.server.status import DETAILS_KEY, DOMAIN, append_localized, grpc_code, to_status

NOT_SERVED = "NOT_SERVED"
_PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""The trailer with which a server tells a client when to retry, in milliseconds (gRPC proposal A6)."""


class ErrorStatus:
    """Ends failed calls with `google.rpc.Status`. The text of an unexpected exception never reaches a caller."""

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """End the call with the status of the error that it raised."""

        async def handle(request: Any, context: Context) -> Any:
            try:
                return await proceed(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - here and only here
                await _abort(method, context, error)

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """End the call with the status of the error that it raised. Responses that were already sent remain valid."""

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                async for response in proceed(request, context):
                    yield response
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - here and only here
                await _abort(method, context, error)

        return handle


async def _abort(method: Method, context: Context, error: Exception) -> NoReturn:
    call = current_call.get() or Call("")
    if isinstance(error, NotImplementedError):
        status, call.reason = _not_served(method), NOT_SERVED
    else:
        status = to_status(error, call.request_id)
        call.reason = error.reason if isinstance(error, HutongError) else "INTERNAL"
    code = grpc_code(status)
    call.code = code.name
    trailers = (
        (DETAILS_KEY, status.SerializeToString()),
        (REQUEST_ID, call.request_id),
        *_retry_pushback(error, context.time_remaining()),
    )
    try:
        await context.abort(code, status.message, trailers)
    except grpc.aio.AbortError as aborted:
        _forget_trace(aborted)
        raise
    raise AssertionError("abort returned")


def _forget_trace(aborted: grpc.aio.AbortError) -> None:
    """Let an exception forget its frames when the task of its call has ended.

    gRPC keeps the exception with the call, and the exception's frames keep the call, the request and the answers. This
    cycle of some 65 objects would stay until the next collection of the oldest generation, perhaps for minutes.
    """

    def forget(_: object) -> None:
        aborted.__traceback__ = aborted.__context__ = None

    task = asyncio.current_task()
    if task is not None:
        task.add_done_callback(forget)


def _retry_pushback(error: Exception, seconds_left: float | None) -> tuple[tuple[str, str], ...]:
    """Return the retry delay in the form that gRPC clients obey; empty for errors that clients never retry.

    A negative value forbids a retry. It is sent if no retry can help, and also if the delay does not fit into the
    deadline. In the latter case the client would wait until the deadline and then report the deadline in place of this
    error.
    """
    if not isinstance(error, Unavailable):
        return ()
    wait = error.retry_after
    if wait is None or (seconds_left is not None and wait >= seconds_left * SECOND):
        return ((_PUSHBACK_KEY, "-1"),)
    return ((_PUSHBACK_KEY, str(wait * 1000 // SECOND)),)


def _not_served(method: Method) -> status_pb2.Status:
    text = english("this process does not serve the method")
    status = status_pb2.Status(code=code_pb2.UNIMPLEMENTED, message=text)
    info = error_details_pb2.ErrorInfo(reason=NOT_SERVED, domain=DOMAIN, metadata={"method": method.name[:200]})
    status.details.add().Pack(info)
    append_localized(status, text)
    return status
