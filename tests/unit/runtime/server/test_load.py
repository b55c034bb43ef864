"""When calls are refused because those under way take too long."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hutong.access.v1 import access_pb2
from hutong.policy.v1 import policy_service_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.server.accepting import Limit
from services.runtime.server.interceptors.method import Method
from services.runtime.server.load import (
    HEAVY_CALLS,
    LAG_SECONDS,
    LAST_TIMES,
    LIGHT_CALLS,
    LONGEST_LAG,
    MOST_BESIDE,
    REFUSED_LAST,
    RETRIES,
    STREAMS,
    Backlog,
    LoadLimits,
)
from services.runtime.server.status import info_from_status
from tests.support.clocks import SetClock

FLOOD = "ipv4:127.0.0.1:1"
"""The connection of all calls, if a test does not name another one."""


@pytest.fixture
def clock() -> SetClock:
    """A clock for the limits of a test."""
    return SetClock()


@pytest.fixture
def limits(clock: SetClock) -> LoadLimits:
    """The limits of a server without calls."""
    return LoadLimits("test", clock)


def limit_of(limits: LoadLimits, name: str, cost: int = access_pb2.COST_NORMAL, *, stream: bool = False) -> Limit:
    """The limit of a method with a cost."""
    return limits.of(Method(name, request_streaming=stream, response_streaming=stream), cost)


def admitted(limit: Limit, calls: int, connection: str = FLOOD) -> int:
    """How many of some calls are admitted."""
    return sum(limit.refuse(connection, None) is None for _ in range(calls))


def run_at(backlog: Backlog, clock: SetClock, rate: int, seconds: float) -> None:
    """Let calls begin and end at a rate, beside those under way."""
    for _ in range(round(seconds * rate)):
        backlog.begin(FLOOD)
        clock.now += 1 / rate
        backlog.end(FLOOD)


@given(rate=st.integers(10, 20_000), admitted_always=st.integers(1, 300))
def test_the_calls_under_way_are_those_of_the_lag(rate: int, admitted_always: int) -> None:
    """However fast the process is. A slow one still admits what is no backlog."""
    clock = SetClock()
    backlog = Backlog(admitted_always, clock)
    run_at(backlog, clock, rate, 3.0)
    count = 0
    while not backlog.is_full_for(1, FLOOD, None):
        backlog.begin(FLOOD)
        count += 1
    assert count == pytest.approx(max(admitted_always, rate * LAG_SECONDS), rel=0.2, abs=2)
    assert backlog.lag == pytest.approx(max(admitted_always / rate, LAG_SECONDS), rel=0.3, abs=3 / rate)


def test_the_lag_has_a_greatest_value() -> None:
    """The greatest lag is shown while no call ends at all. It is no longer shown once the calls end."""
    clock = SetClock()
    backlog = Backlog(2, clock)
    run_at(backlog, clock, 100, 1.0)
    backlog.begin(FLOOD)
    backlog.begin(FLOOD)
    for _ in range(600):
        clock.now += 1.0
        assert backlog.is_full_for(1, FLOOD, None)
    assert backlog.lag == LONGEST_LAG
    backlog.end(FLOOD)
    backlog.end(FLOOD)
    assert backlog.lag == 0.0


def test_calls_that_only_wait_do_not_count() -> None:
    backlog = Backlog(2, SetClock())
    for _ in range(5):
        backlog.begin(FLOOD)
    assert backlog.is_full_for(1, FLOOD, None)
    backlog.note_waiting(4)
    assert not backlog.is_full_for(1, FLOOD, None)


def test_a_call_whose_time_is_shorter_than_the_lag_is_refused() -> None:
    """The answer would come too late. Calls that wait longer are admitted. Without a backlog all calls are admitted."""
    clock = SetClock()
    backlog = Backlog(10, clock)
    run_at(backlog, clock, 100, 3.0)
    for _ in range(10):
        assert not backlog.is_full_for(1, FLOOD, 0.01)
        backlog.begin(FLOOD)
    assert backlog.lag == pytest.approx(0.1, rel=0.2)
    assert backlog.is_full_for(1, FLOOD, 0.05)
    assert not backlog.is_full_for(1, FLOOD, 0.2)
    assert not backlog.is_full_for(1, FLOOD, None)


def test_a_refused_call_gets_a_status_with_a_retry(limits: LoadLimits) -> None:
    """Callers get different times, so that they do not all come back at once."""
    limit = limit_of(limits, "/lab.Lab/Get")
    assert admitted(limit, LIGHT_CALLS + 10) == LIGHT_CALLS
    delays = set()
    for _ in RETRIES:
        refusal = limit.refuse(FLOOD, None)
        assert refusal is not None
        assert refusal.code == code_pb2.RESOURCE_EXHAUSTED
        ((key, encoded),) = refusal.trailers
        assert key == "grpc-status-details-bin"
        assert isinstance(encoded, bytes)
        status = status_pb2.Status.FromString(encoded)
        assert status.message == refusal.text
        info = info_from_status(status)
        assert (info.reason, dict(info.metadata)) == ("OVERLOADED", {"limit": "200", "what": "milliseconds of lag"})
        retry = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(retry) for detail in status.details)
        delays.add(retry.retry_delay.ToMicroseconds())
    assert delays == set(RETRIES)
    limit.end(FLOOD)
    assert limit.refuse(FLOOD, None) is None


def test_a_quiet_connection_is_admitted_beside_a_flood(limits: LoadLimits) -> None:
    """The connection has half of an equal share, which becomes smaller with more connections.

    The flood gets nothing meanwhile.
    """
    limit = limit_of(limits, "/lab.Lab/Get")
    assert admitted(limit, LIGHT_CALLS + 10) == LIGHT_CALLS
    assert admitted(limit, LIGHT_CALLS, "quiet") == LIGHT_CALLS // 4
    assert admitted(limit, LIGHT_CALLS, "third") == -(-LIGHT_CALLS // 6)
    assert admitted(limit, 10) == 0
    limit.end("quiet")
    assert admitted(limit, 10, "quiet") == 0
    for _ in range(LIGHT_CALLS // 4 - 1):
        limit.end("quiet")
    assert admitted(limit, LIGHT_CALLS, "quiet") == -(-LIGHT_CALLS // 6)


def test_very_many_connections_do_not_double_the_lag_again(limits: LoadLimits) -> None:
    """Each has one call, and none has more than its share."""
    limit = limit_of(limits, "/lab.Lab/Get")
    assert sum(admitted(limit, 1, str(number)) for number in range(10_000)) == MOST_BESIDE * LIGHT_CALLS


@pytest.mark.parametrize("name", sorted(REFUSED_LAST))
def test_what_gates_need_is_refused_last(name: str, limits: LoadLimits) -> None:
    """While other calls are refused, Verification still gets policies. Its calls are limited too."""
    method = name.split("/")[2]
    assert method in {one.name for one in policy_service_pb2.DESCRIPTOR.services_by_name["PolicyService"].methods}
    others, gates = limit_of(limits, "/lab.Lab/Get"), limit_of(limits, name)
    assert admitted(others, LIGHT_CALLS + 10) == LIGHT_CALLS
    assert admitted(gates, LAST_TIMES * LIGHT_CALLS) == (LAST_TIMES - 1) * LIGHT_CALLS
    assert others.refuse(FLOOD, None) is not None


def test_heavy_calls_leave_the_light_ones_alone(limits: LoadLimits) -> None:
    """Light calls that are too many stop the heavy ones too, and new streams, but no call of a node."""
    light, heavy = limit_of(limits, "/lab.Lab/Get"), limit_of(limits, "/lab.Lab/List", access_pb2.COST_HEAVY)
    assert admitted(heavy, HEAVY_CALLS + 5) == HEAVY_CALLS
    heavy.end(FLOOD)
    assert admitted(light, LIGHT_CALLS + 5) == LIGHT_CALLS
    stream = limit_of(limits, "/lab.Lab/Watch", access_pb2.COST_HEAVY, stream=True)
    assert admitted(heavy, 1) == admitted(stream, 1) == 0
    for name in ("/hutong.results.internal.v1.InternalLookupService/BatchLookupColumns", "/hutong.exchange.v1.X/Y"):
        assert admitted(limit_of(limits, name, access_pb2.COST_HEAVY), 5) == 5
    light.end(FLOOD)
    assert admitted(heavy, 5) == 1
    assert admitted(stream, 5) == 5


def test_a_heavy_call_that_only_waits_leaves_its_place(limits: LoadLimits) -> None:
    heavy = limit_of(limits, "/lab.Lab/List", access_pb2.COST_HEAVY)
    assert admitted(heavy, HEAVY_CALLS + 1) == HEAVY_CALLS
    for name, cost in (("/lab.Lab/Get", access_pb2.COST_NORMAL), ("/hutong.exchange.v1.X/Y", access_pb2.COST_HEAVY)):
        limits.note_waiting(Method(name, request_streaming=False, response_streaming=False), cost, 1)
        assert admitted(heavy, 1) == 0
    limits.note_waiting(
        Method("/lab.Lab/List", request_streaming=False, response_streaming=False), access_pb2.COST_HEAVY, 1
    )
    assert admitted(heavy, 2) == 1


def test_streams_have_a_limit_in_all(limits: LoadLimits) -> None:
    watch, upload = (limit_of(limits, f"/lab.Lab/{name}", stream=True) for name in ("Watch", "Upload"))
    assert admitted(watch, STREAMS - 1) == STREAMS - 1
    assert admitted(upload, 5) == 1
    refusal = watch.refuse(FLOOD, None)
    assert refusal is not None
    assert "streams" in refusal.text
    assert admitted(limit_of(limits, "/lab.Lab/Get"), 5) == 5
    watch.end(FLOOD)
    assert admitted(upload, 5) == 1
