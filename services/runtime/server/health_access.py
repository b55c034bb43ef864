"""Health access: refuses callers of health that are no longer accepted, and ends and limits their watches."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hutong_texts import english

from services.domain.errors import ResourceExhausted
from services.domain.instant import SECOND
from services.runtime.call import UNKNOWN, current_call
from services.runtime.server.access.identify import Identifier
from services.runtime.server.interceptors.method import Context, Method, UnaryHandler
from services.runtime.server.interceptors.open_streams import OpenStreams

MAX_WATCHES = 64
"""Watches of one certificate. It is the limit of streams of a gate, because every watch keeps some memory."""


class HealthAccess:
    """Every caller with a certificate of the client authorities may ask for health, also one that names no role.

    A certificate that has expired or is on the deny-list is refused, and its open watches end.
    """

    def __init__(self, identifier: Identifier, streams: OpenStreams) -> None:
        self._identifier = identifier
        self._streams = streams
        self._watches: Counter[str] = Counter()

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Wrap a method of health. The handler of a watch is a coroutine too."""
        if self._identifier.is_open:
            return proceed

        async def check(request: Any, context: Context) -> Any:
            self._streams.require_accepted()
            return await proceed(request, context)

        async def watch(request: Any, context: Context) -> Any:
            call = current_call.get()
            certificate = (call.caller if call is not None else UNKNOWN).certificate_hash
            if self._watches[certificate] >= MAX_WATCHES:
                raise ResourceExhausted(
                    "OVERLOADED",
                    english("the certificate may have {limit} watches of health open", limit=MAX_WATCHES),
                    metadata={"limit": str(MAX_WATCHES), "what": "watches of health"},
                    retry_after=SECOND,
                )
            self._watches[certificate] += 1
            try:
                return await self._streams.wait_for(lambda: proceed(request, context))
            finally:
                self._watches[certificate] -= 1
                if not self._watches[certificate]:
                    del self._watches[certificate]

        return watch if method.response_streaming else check
