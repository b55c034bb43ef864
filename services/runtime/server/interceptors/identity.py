"""Identity: identifies the caller before any other layer needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

from services.runtime.call import current_call
from services.runtime.server.access.identify import Identifier
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler


class Identity:
    """Sets the caller of the current call. Unknown callers pass.

    Authorization refuses them, so that the refusal is logged.
    """

    def __init__(self, identifier: Identifier) -> None:
        self._identifier = identifier

    def around_unary(self, _method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Set the caller, then go on."""

        def handle(request: Any, context: Context) -> Awaitable[Any]:
            self._set_caller(context)
            return proceed(request, context)

        return handle

    def around_stream(self, _method: Method, proceed: StreamHandler) -> StreamHandler:
        """Set the caller, then go on."""

        def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            self._set_caller(context)
            return proceed(request, context)

        return handle

    def _set_caller(self, context: Context) -> None:
        call = current_call.get()
        if call is not None:
            call.caller = self._identifier.identify(context)
            call.is_denied = self._identifier.denies
