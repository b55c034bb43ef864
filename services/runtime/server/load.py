"""Limits of a process's load. New calls are refused while the calls under way already take too long."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator

import structlog
from hutong.access.v1 import access_pb2
from hutong_texts import english
from prometheus_client import Counter, Gauge

from services.domain.errors import HutongError, ResourceExhausted
from services.domain.instant import SECOND, Span
from services.runtime.server.accepting import Limit, RefusalStatus
from services.runtime.server.interceptors.method import Method
from services.runtime.server.interceptors.metrics import HANDLED, LABELS, STARTED, UNKNOWN_ROLE, labels_of
from services.runtime.server.status import DETAILS_KEY, grpc_code, to_status

LAG_SECONDS = 0.2
"""The lag beyond which new calls are refused. People at a gate do not notice a fifth of a second. A process with such a
lag is never idle."""
LIGHT_CALLS = 256
"""How many light and normal calls under way are always admitted. One caller may have as many. Fewer calls are no
backlog, however slow the machine is."""
HEAVY_CALLS = 32
"""How many heavy calls under way are always admitted. As many reads of many rows may wait."""
STREAMS = 10_000
"""The most streams under way in a process, not counting the streams of nodes. An idle stream takes about 22 kB."""
WINDOW_SECONDS = 0.1
"""The time between two measurements of the rate of ended calls. LAG_SECONDS contains two of them."""
LONGEST_LAG = 60.0
"""The greatest lag that is shown, in seconds. While no call ends at all, the lag is unlimited and this value is shown.
"""
NEWEST_SHARE = 0.3
"""The weight of the newest window in the rate. The rate therefore follows a change of speed within a few windows."""
SMALL_SHARE = 0.5
"""While calls are refused, a small connection still gets calls admitted. A connection is small if it has less than this
part of an equal share of the calls under way. If connections got the whole share, connections that all send too much
would keep the number of calls above the limit."""
MOST_BESIDE = 2
"""How many times the usual number of calls may be under way because of SMALL_SHARE. The lag is therefore at most twice
as long, however many connections there are."""
RETRIES: tuple[Span, ...] = tuple(
    milliseconds * SECOND // 1000 for milliseconds in (500, 700, 900, 1_100, 1_300, 1_500)
)
"""The times after which refused callers may try again. Each refused call gets the next of them, so that callers do not
return all at once."""
ALWAYS_ADMITTED = ("/hutong.results.internal.", "/hutong.exchange.")
"""Methods that services of this node and other nodes call on behalf of their own callers. Each calling process limits
its load itself and has few such calls under way. To such a process, a refusal would look like a source that does not
answer."""
REFUSED_LAST = frozenset(
    f"/hutong.policy.v1.PolicyService/{name}" for name in ("ResolvePolicy", "BatchResolvePolicies")
)
"""The methods that Verification calls for gates. To Verification a refusal looks like a source that does not answer, so
that the gate would get UNDETERMINED. These methods are therefore admitted up to LAST_TIMES the lag of other methods."""
LAST_TIMES = 4
"""How many times the lag of other methods is allowed to the methods of REFUSED_LAST: 0.8 s in all. An admitted call is
then answered within the two seconds that Verification waits."""
LOG_SECONDS = 10.0
"""The least time between two warnings about refused calls."""

REFUSED = Counter("hutong_overload_refusals_total", "Calls refused because of the process's lag", LABELS)
LAG = Gauge("hutong_lag_seconds", "How long a new call would take by the calls under way", ["service", "calls"])
_log = structlog.get_logger(__name__)


class Backlog:
    """The calls under way of one kind.

    By Little's law a new call takes about as long as the number of calls under way divided by the rate at which calls
    end. While that is too long, only connections with few calls under way get new calls admitted. A caller that asks
    seldom is therefore answered beside a flood from other connections. Callers behind one proxy share its connections.
    A call is refused at once if its caller waits for less time than the call would take.
    """

    def __init__(self, calls_admitted: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._admitted = calls_admitted
        self._clock = clock
        self._count = 0
        self._by_connection: dict[str, int] = {}
        self._waiting = 0
        self._ended = 0
        self._rate = 0.0
        self._most = calls_admitted
        self._window_begun = clock()

    def is_full_for(self, times: int, connection: str, left: float | None) -> bool:
        """Whether a new call of a connection must be refused, because it would take too long.

        `times` is how many times the usual lag is allowed to the call. `left` are the seconds that the caller still
        waits; None if it waits for ever.
        """
        count = self._count - self._waiting
        if count < self._admitted * times:
            return False
        self._measure()
        if left is not None and left < min(self.lag, MOST_BESIDE * LAG_SECONDS):
            return True
        most = self._most * times
        if count < most:
            return False
        own = self._by_connection.get(connection, 0)
        connections = len(self._by_connection) + (not own)
        return count >= most * MOST_BESIDE or own >= most / connections * SMALL_SHARE

    @property
    def lag(self) -> float:
        """The seconds that a new call would take, at most LONGEST_LAG; 0 while there are too few calls to measure."""
        count = max(self._count - self._waiting, 0)
        return min(count / self._rate, LONGEST_LAG) if self._rate else LONGEST_LAG * (count >= self._admitted)

    def begin(self, connection: str) -> None:
        """Count a call that is admitted."""
        self._count += 1
        self._by_connection[connection] = self._by_connection.get(connection, 0) + 1

    def end(self, connection: str) -> None:
        """Count the end of an admitted call."""
        self._count -= 1
        self._ended += 1
        left = self._by_connection.pop(connection) - 1
        if left:
            self._by_connection[connection] = left
        self._measure()

    def note_waiting(self, change: int) -> None:
        """Change the number of calls that only wait, which costs this process next to nothing."""
        self._waiting += change

    def _measure(self) -> None:
        now = self._clock()
        passed = now - self._window_begun
        if passed < WINDOW_SECONDS:
            return
        # After a pause of several windows, the last window weighs as much as several.
        share = 1 - (1 - NEWEST_SHARE) ** (passed / WINDOW_SECONDS)
        self._rate += share * (self._ended / passed - self._rate)
        self._most = max(self._admitted, math.ceil(self._rate * LAG_SECONDS))
        self._window_begun, self._ended = now, 0


class LoadLimits:
    """The limits of all methods of a server.

    While light calls are refused, heavy calls and new streams are refused too.
    """

    def __init__(self, service: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._light = Backlog(LIGHT_CALLS, clock)
        self._heavy = Backlog(HEAVY_CALLS, clock)
        self._refusals: Iterator[RefusalStatus] = itertools.cycle([_lag_refusal(delay) for delay in RETRIES])
        self.streams = 0
        self._refused = 0
        self._logged = -math.inf
        self._service = service
        # The gauges belong to the process. The server that was opened last therefore sets them.
        LAG.labels(service, "light").set_function(lambda: self._light.lag)
        LAG.labels(service, "heavy").set_function(lambda: self._heavy.lag)

    def of(self, method: Method, cost: int) -> Limit:
        """Return the limit of a method by the cost that the contract states."""
        if method.name.startswith(ALWAYS_ADMITTED):
            return Unlimited()
        return MethodLimit(self, method, is_heavy=cost == access_pb2.COST_HEAVY)

    def backlog(self, *, heavy: bool) -> Backlog:
        """Return the calls under way of a kind."""
        return self._heavy if heavy else self._light

    def note_waiting(self, method: Method, cost: int, change: int) -> None:
        """Change the number of calls of a method that only wait."""
        if method.name.startswith(ALWAYS_ADMITTED):
            return
        self.backlog(heavy=cost == access_pb2.COST_HEAVY).note_waiting(change)

    def refuse_stream(self) -> RefusalStatus | None:
        """Return None if one more stream may be opened now."""
        return _STREAM_REFUSAL if self.streams >= STREAMS else None

    def next_refusal(self) -> RefusalStatus:
        """Return the status of the next refused call. Log now and then that calls are refused."""
        self._refused += 1
        now = self._clock()
        if now >= self._logged + LOG_SECONDS:
            self._logged = now
            _log.warning("refusing calls", service=self._service, lag=round(self._light.lag, 2), refused=self._refused)
        return next(self._refusals)


class Unlimited:
    """The limit of a method that is always admitted.

    That is a method of ALWAYS_ADMITTED, or of health for local callers.
    """

    def refuse(self, _connection: str, _left: float | None) -> None:
        """Return None."""

    def end(self, _connection: str) -> None:
        """Do nothing."""


class MethodLimit:
    """The limit of one method."""

    def __init__(self, limits: LoadLimits, method: Method, *, is_heavy: bool) -> None:
        self._limits = limits
        self._times = LAST_TIMES if method.name in REFUSED_LAST else 1
        # Streams may be under way for days, so they do not count towards the lag.
        self._is_stream = method.request_streaming or method.response_streaming
        self._light = limits.backlog(heavy=False)
        self._own = limits.backlog(heavy=is_heavy and not self._is_stream)
        self._kinds = (self._light,) if self._own is self._light else (self._own, self._light)
        labels = labels_of(method)
        self._counters = (
            REFUSED.labels(*labels),
            STARTED.labels(*labels, UNKNOWN_ROLE),
            HANDLED.labels(*labels, UNKNOWN_ROLE, "ResourceExhausted"),
        )

    def refuse(self, connection: str, left: float | None) -> RefusalStatus | None:
        """Return None for a call that is admitted now, and count it."""
        refusal = self._limits.refuse_stream() if self._is_stream else None
        if refusal is None and self._is_full_for(connection, left):
            refusal = self._limits.next_refusal()
        if refusal is not None:
            for counter in self._counters:
                counter.inc()
        elif self._is_stream:
            self._limits.streams += 1
        else:
            self._own.begin(connection)
        return refusal

    def end(self, connection: str) -> None:
        """Count the end of an admitted call."""
        if self._is_stream:
            self._limits.streams -= 1
        else:
            self._own.end(connection)

    def _is_full_for(self, connection: str, left: float | None) -> bool:
        return any(kind.is_full_for(self._times, connection, left) for kind in self._kinds)


def _lag_refusal(delay: Span) -> RefusalStatus:
    return encode_refusal(
        ResourceExhausted(
            "OVERLOADED",
            english("this process has more work than it can do in time; try again"),
            metadata={"limit": f"{LAG_SECONDS * 1000:.0f}", "what": "milliseconds of lag"},
            retry_after=delay,
        )
    )


def encode_refusal(error: HutongError) -> RefusalStatus:
    """Return the status of an error with its details, for calls that are refused before any work is done."""
    status = to_status(error)
    code: int = grpc_code(status).value[0]
    return RefusalStatus(code, status.message, ((DETAILS_KEY, status.SerializeToString()),))


_STREAM_REFUSAL = encode_refusal(
    ResourceExhausted(
        "OVERLOADED",
        english("more streams are open than this process takes; try again"),
        metadata={"limit": str(STREAMS), "what": "streams"},
        retry_after=SECOND,
    )
)
