"""Request id: gives every call an id, the caller's `x-request-id` or a new UUID, and a span in the caller's trace."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from services.runtime.call import ACCEPT_LANGUAGE, CASE, REQUEST_ID, TRACE_PARENT, Call, Trace, current_call
from services.runtime.ids import uuid7
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler

_SANE = re.compile(r"(?!.*[0-9]{15})[0-9A-Za-z._-]{1,64}")
"""The ids that are accepted: no 15 digits in a row, because an id is logged and must not be a document's number."""
_CASE = re.compile(r"(?=.*[!-~])(?!.*[0-9]{15})[ -\[\]-~]{1,64}")
"""Printable ASCII without a backslash, not only spaces: a blank case names nothing. No 15 digits in a row, because the
audit records a case."""


class RequestId:
    """Makes the `Call` whose id is in every log line about it."""

    def around_unary(self, _method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Set the current call, go on, and end the call."""

        async def handle(request: Any, context: Context) -> Any:
            call = _open_call(context)
            current_call.set(call)
            try:
                return await proceed(request, context)
            finally:
                if call.at_end is not None:
                    call.at_end(call)

        return handle

    def around_stream(self, _method: Method, proceed: StreamHandler) -> StreamHandler:
        """Set the current call, go on, and end the call."""

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            call = _open_call(context)
            current_call.set(call)
            try:
                async for response in proceed(request, context):
                    yield response
            finally:
                if call.at_end is not None:
                    call.at_end(call)

        return handle


def _open_call(context: Context) -> Call:
    request_id, trace, case, languages = "", None, "", ""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and not request_id and _SANE.fullmatch(value):
            request_id = value
        elif key == TRACE_PARENT and isinstance(value, str):
            trace = Trace.from_header(value)
        elif key == CASE and isinstance(value, str) and _CASE.fullmatch(value):
            case = value
        elif key == ACCEPT_LANGUAGE and isinstance(value, str):
            languages = value
    return Call(request_id or uuid7(), trace, case, languages)
