"""How often health may be asked for: by connection, by caller, and by all certificates without a name."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from services.runtime.caller import Caller
from services.runtime.server.health.rate import (
    BURST_SECONDS,
    NOTE_SECONDS,
    OF_NAMELESS,
    PER_CALLER,
    PER_CONNECTION,
    REMEMBERED,
    HealthRate,
)
from tests.support.clocks import SetClock

OF_CONNECTION = round(PER_CONNECTION * BURST_SECONDS)
OF_CALLER = round(PER_CALLER * BURST_SECONDS)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def rate(clock: SetClock) -> HealthRate:
    return HealthRate(clock)


def admitted(rate: HealthRate, peer: str, calls: int) -> int:
    """Return how many of so many calls of a connection are admitted."""
    return sum(rate.refuse(peer, None) is None for _ in range(calls))


def operator(peer: str) -> Caller:
    return Caller("operator", "operators/1", certificate_name="operators/1", peer=peer)


def nameless(peer: str, certificate: str) -> Caller:
    return Caller("", certificate_hash=certificate, peer=peer)


def refusals(rate_of: str) -> float:
    return REGISTRY.get_sample_value("hutong_health_refusals_total", {"rate_of": rate_of}) or 0.0


def test_a_connection_has_a_burst_and_then_its_rate(rate: HealthRate, clock: SetClock) -> None:
    """Another connection has its own."""
    before = refusals("connection")
    assert admitted(rate, "one", 1_000) == OF_CONNECTION
    assert refusals("connection") - before == 1_000 - OF_CONNECTION
    assert admitted(rate, "other", 1) == 1
    clock.now += 1
    assert admitted(rate, "one", 1_000) == PER_CONNECTION


def test_a_caller_has_one_rate_over_all_its_connections(rate: HealthRate) -> None:
    peers = [f"p{number}" for number in range(20)]
    for peer in peers:
        rate.note_caller(operator(peer))
    assert sum(admitted(rate, peer, OF_CONNECTION) for peer in peers) == OF_CALLER


def test_certificates_without_a_name_share_a_rate_that_others_do_not_use(rate: HealthRate) -> None:
    peers = [f"p{number}" for number in range(64)]
    for peer in peers:
        rate.note_caller(nameless(peer, certificate=f"hash of {peer}"))
    assert sum(admitted(rate, peer, OF_CONNECTION) for peer in peers) == OF_NAMELESS * BURST_SECONDS
    rate.note_caller(operator("probe"))
    assert admitted(rate, "probe", OF_CONNECTION) == OF_CONNECTION


def test_a_connection_at_the_address_of_an_earlier_one_is_its_new_callers(rate: HealthRate, clock: SetClock) -> None:
    """The address of a connection is used again by another caller, whose calls count for that caller alone.

    The earlier caller may still flood over other connections.
    """
    for peer in (f"p{number}" for number in range(20)):
        rate.note_caller(nameless(peer, "one certificate"))
        admitted(rate, peer, OF_CONNECTION)
    assert admitted(rate, "p19", 1) == 0
    clock.now += NOTE_SECONDS
    rate.note_caller(nameless("p0", "one certificate"))
    assert admitted(rate, "p0", 1_000) == OF_CONNECTION
    assert admitted(rate, "p19", 1) == 1
    rate.note_caller(operator("p19"))
    assert admitted(rate, "p19", 1_000) == OF_CONNECTION - 1


def test_what_is_remembered_is_limited(rate: HealthRate) -> None:
    """The connection that was seen longest ago is forgotten."""
    assert admitted(rate, "one", OF_CONNECTION + 1) == OF_CONNECTION
    for number in range(REMEMBERED):
        admitted(rate, f"p{number}", 1)
    assert admitted(rate, "one", 1) == 1
