"""Access to health. Refuses callers that are no longer accepted.

Ends their watches, and limits the number of watches.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hutong_texts import Text, english

from services.domain.errors import ResourceExhausted
from services.domain.instant import SECOND
from services.runtime.call import UNKNOWN, current_call
from services.runtime.caller import Caller
from services.runtime.server.access.identify import Identifier
from services.runtime.server.health.rate import HealthRate, owner_of
from services.runtime.server.interceptors.method import Context, Method, UnaryHandler
from services.runtime.server.interceptors.open_streams import OpenStreams

MAX_WATCHES = 64
"""The most watches of one caller over all its connections, because every watch takes memory. A gate has the same limit
of streams."""
MAX_WATCHES_OF_ALL = 4_096
"""The most watches of a process. They take 90 MiB. Without this limit, a caller with many certificates could open any
number."""
MAX_WATCHES_OF_NAMELESS = 1_024
"""The most watches of all certificates that name no caller."""
KEPT_FOR_OPERATORS = 64
"""How many of the MAX_WATCHES_OF_ALL watches are reserved for operators, so that their load balancers always get a
watch."""
_OPERATOR = "operator"


class HealthAccess:
    """Lets every caller with a certificate of the client authorities ask for health, even if it names no role.

    A caller whose certificate has expired or is on the deny-list is refused, and its open watches end. Local callers
    have no limit but that of the process.
    """

    def __init__(self, identifier: Identifier, streams: OpenStreams, rate: HealthRate) -> None:
        self._identifier = identifier
        self._streams = streams
        self._rate = rate
        self._watches: Counter[str] = Counter()
        self._nameless = 0
        self._open = 0

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Wrap a method of health. The handlers of all its methods are coroutines, even that of a watch."""
        is_local = self._identifier.is_open

        async def check(request: Any, context: Context) -> Any:
            self._rate.note_caller(_caller())
            self._streams.require_accepted()
            return await proceed(request, context)

        async def watch(request: Any, context: Context) -> Any:
            caller = _caller()
            owner, is_nameless = owner_of(caller), not is_local and not caller.role
            if not is_local:
                self._rate.note_caller(caller)
            self._require_place(caller, owner, is_local=is_local, is_nameless=is_nameless)
            self._open += 1
            self._nameless += is_nameless
            self._watches[owner] += 1
            try:
                if is_local:
                    return await proceed(request, context)
                return await self._streams.wait_for(lambda: proceed(request, context))
            finally:
                self._open -= 1
                self._nameless -= is_nameless
                self._watches[owner] -= 1
                if not self._watches[owner]:
                    del self._watches[owner]

        if method.response_streaming:
            return watch
        return proceed if is_local else check

    def _require_place(self, caller: Caller, owner: str, *, is_local: bool, is_nameless: bool) -> None:
        """Check that the caller may open one more watch.

        Raises:
            ResourceExhausted: OVERLOADED, too many watches are open.
        """
        kept = 0 if is_local or caller.role == _OPERATOR else KEPT_FOR_OPERATORS
        if self._open >= MAX_WATCHES_OF_ALL - kept:
            text = english("more streams are open than this process takes; try again")
            raise _too_many(text, "watches of health in this process", MAX_WATCHES_OF_ALL - kept)
        if is_nameless and self._nameless >= MAX_WATCHES_OF_NAMELESS:
            text = english("more streams are open than this process takes; try again")
            raise _too_many(text, "watches of health of certificates without a role", MAX_WATCHES_OF_NAMELESS)
        if not is_local and self._watches[owner] >= MAX_WATCHES:
            text = english("the caller may have {limit} watches of health open", limit=MAX_WATCHES)
            raise _too_many(text, "watches of health", MAX_WATCHES)


def _caller() -> Caller:
    """Return the caller of the current call."""
    call = current_call.get()
    return call.caller if call is not None else UNKNOWN


def _too_many(text: Text, what: str, limit: int) -> ResourceExhausted:
    metadata = {"limit": str(limit), "what": what}
    return ResourceExhausted("OVERLOADED", text, metadata=metadata, retry_after=SECOND)
