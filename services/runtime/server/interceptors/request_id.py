"""Gives every call an id: the caller's `x-request-id` when it is a sane one, else a new UUID."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from services.runtime.call import Call, current_call
from services.runtime.ids import uuid7
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler

HEADER = "x-request-id"
_SANE = re.compile(r"(?!.*[0-9]{15})[0-9A-Za-z._-]{1,64}")
"""Nothing that could be a document's number: an id is logged as it is."""


class RequestId:
    """Opens the call's record, under which everything about it is logged."""

    def around_unary(self, _method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Set the current call, then go on."""

        async def handle(request: Any, context: Context) -> Any:
            current_call.set(Call(_request_id(context)))
            return await proceed(request, context)

        return handle

    def around_stream(self, _method: Method, proceed: StreamHandler) -> StreamHandler:
        """Set the current call, then go on."""

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            current_call.set(Call(_request_id(context)))
            async for response in proceed(request, context):
                yield response

        return handle


def _request_id(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == HEADER and isinstance(value, str) and _SANE.fullmatch(value):
            return value
    return uuid7()
