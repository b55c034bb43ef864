"""Health access: refuses callers of health that are no longer accepted, and ends and limits their watches."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hutong_texts import Text, english

from services.domain.errors import ResourceExhausted
from services.domain.instant import SECOND
from services.runtime.call import UNKNOWN, current_call
from services.runtime.server.access.identify import Identifier
from services.runtime.server.interceptors.method import Context, Method, UnaryHandler
from services.runtime.server.interceptors.open_streams import OpenStreams

MAX_WATCHES = 64
"""The most watches of one caller over all its connections. A gate has the same limit of streams. The watches are
limited because every watch keeps some memory."""
MAX_WATCHES_OF_ALL = 4_096
"""The most watches of a process. So many watches take 90 MiB. Without this limit, a caller with many certificates would
have no limit."""


class HealthAccess:
    """Every caller with a certificate of the client authorities may ask for health, even if it names no role.

    A certificate that has expired or is on the deny-list is refused, and its open watches end. For local callers only
    the limit of the process applies.
    """

    def __init__(self, identifier: Identifier, streams: OpenStreams) -> None:
        self._identifier = identifier
        self._streams = streams
        self._watches: Counter[str] = Counter()
        self._open = 0

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Wrap a method of health. The handler of a watch is a coroutine too."""
        is_local = self._identifier.is_open

        async def check(request: Any, context: Context) -> Any:
            self._streams.require_accepted()
            return await proceed(request, context)

        async def watch(request: Any, context: Context) -> Any:
            call = current_call.get()
            caller = call.caller if call is not None else UNKNOWN
            # A caller may have several certificates with its name. The watches of a certificate that names no caller
            # are counted by the certificate's hash.
            owner = caller.certificate_name or caller.certificate_hash
            if self._open >= MAX_WATCHES_OF_ALL:
                text = english("more streams are open than this process takes; try again")
                raise _too_many(text, "watches of health in this process", MAX_WATCHES_OF_ALL)
            if not is_local and self._watches[owner] >= MAX_WATCHES:
                text = english("the caller may have {limit} watches of health open", limit=MAX_WATCHES)
                raise _too_many(text, "watches of health", MAX_WATCHES)
            self._open += 1
            self._watches[owner] += 1
            try:
                if is_local:
                    return await proceed(request, context)
                return await self._streams.wait_for(lambda: proceed(request, context))
            finally:
                self._open -= 1
                self._watches[owner] -= 1
                if not self._watches[owner]:
                    del self._watches[owner]

        if method.response_streaming:
            return watch
        return proceed if is_local else check


def _too_many(text: Text, what: str, limit: int) -> ResourceExhausted:
    metadata = {"limit": str(limit), "what": what}
    return ResourceExhausted("OVERLOADED", text, metadata=metadata, retry_after=SECOND)
