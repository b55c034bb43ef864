"""A laboratory's quota: what it may do, the error beyond it, and that other laboratories are not affected."""

from __future__ import annotations

import contextlib

import pytest

from services.domain.errors import ResourceExhausted
from services.domain.instant import DAY, HOUR, MINUTE, SECOND
from services.results.upload.quotas import PENALTY, REFUSAL_SECONDS, Limits, Quotas
from services.runtime.clock import FixedClock
from tests.support.results.factories import NOW, OTHER_USCC, USCC

LIMITS = Limits(streams=2, persons_per_second=1_000, duplicates_per_day=100)


class World:
    """Quotas in a world whose time passes by their own sleeping alone."""

    def __init__(self) -> None:
        self.clock = FixedClock(NOW)
        self.slept: list[float] = []
        self.quotas = Quotas(LIMITS, self.clock, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(round(seconds * SECOND))


@pytest.fixture
def world() -> World:
    return World()


async def refused(world: World, lab: str = USCC) -> ResourceExhausted:
    """The refusal of one more stream."""
    with pytest.raises(ResourceExhausted) as caught:
        async with world.quotas.stream(lab):
            pass
    return caught.value


async def test_streams_are_counted_while_they_last(world: World) -> None:
    """The third at once is refused; when one ends, however it does, there is room again."""
    async with world.quotas.stream(USCC):
        with contextlib.suppress(ZeroDivisionError):
            async with world.quotas.stream(USCC):
                error = await refused(world)
                assert (error.reason, error.retry_after) == ("QUOTA_EXCEEDED", SECOND)
                async with world.quotas.stream(OTHER_USCC):
                    pass
                raise ZeroDivisionError
        async with world.quotas.stream(USCC):
            pass


async def test_persons_come_no_faster_than_their_rate(world: World) -> None:
    """A second's worth at once; over a minute neither more than the rate nor noticeably less."""
    await world.quotas.admit(USCC, 1_000)
    assert world.slept == []
    admitted = 1_000
    while world.clock.now() < NOW + MINUTE:
        await world.quotas.admit(USCC, 700)
        admitted += 700
    assert 60_000 <= admitted <= 63_000


async def test_a_pause_earns_one_second_and_no_more(world: World) -> None:
    """A laboratory that sent nothing for an hour may not send an hour's quota at once."""
    await world.quotas.admit(USCC, 5_000)
    world.clock.advance(HOUR)
    for _ in range(3):
        await world.quotas.admit(USCC, 1_000)
    assert world.slept == [1.0]


async def test_a_clock_that_is_set_back_delays_no_upload(world: World) -> None:
    """Each batch waits for the one before it at most, whatever the clock says."""
    for _ in range(3):
        await world.quotas.admit(USCC, 1_000)
    slept = len(world.slept)
    world.clock.advance(-HOUR)
    for _ in range(3):
        await world.quotas.admit(USCC, 1_000)
    assert max(world.slept[slept:]) <= 1.0


async def test_one_laboratorys_persons_do_not_delay_another(world: World) -> None:
    await world.quotas.admit(USCC, 1_000_000)
    await world.quotas.admit(OTHER_USCC, 1_000)
    assert world.slept == []


async def test_duplicates_beyond_the_days_share_end_the_stream_and_the_next_ones(world: World) -> None:
    """New streams are refused until the penalty is over, each after a delay. The other laboratory is not affected."""
    world.quotas.count_duplicates(USCC, 100)
    with pytest.raises(ResourceExhausted) as caught:
        world.quotas.count_duplicates(USCC, 1)
    assert caught.value.retry_after == PENALTY
    error = await refused(world)
    assert world.slept == [REFUSAL_SECONDS]
    assert error.retry_after == PENALTY - round(REFUSAL_SECONDS * SECOND)
    async with world.quotas.stream(OTHER_USCC):
        world.quotas.count_duplicates(OTHER_USCC, 100)
    world.clock.advance(PENALTY)
    async with world.quotas.stream(USCC):
        world.quotas.count_duplicates(USCC, 0)
        with pytest.raises(ResourceExhausted):
            world.quotas.count_duplicates(USCC, 1)


async def test_a_laboratory_may_open_all_its_streams_after_its_penalty(world: World) -> None:
    """A loop of many threads is held too, because refused streams count while they are held."""
    with pytest.raises(ResourceExhausted):
        world.quotas.count_duplicates(USCC, 101)
    await refused(world)
    async with world.quotas.stream(OTHER_USCC):
        pass
    world.clock.advance(PENALTY)
    async with contextlib.AsyncExitStack() as streams:
        for _ in range(LIMITS.streams):
            await streams.enter_async_context(world.quotas.stream(USCC))


async def test_duplicates_are_counted_by_the_day_of_shanghai(world: World) -> None:
    """NOW is noon there: after twelve hours a new day begins."""
    world.quotas.count_duplicates(USCC, 100)
    world.clock.advance(12 * HOUR - SECOND)
    with pytest.raises(ResourceExhausted):
        world.quotas.count_duplicates(USCC, 1)
    world.clock.advance(SECOND)
    world.quotas.count_duplicates(USCC, 100)
    world.clock.advance(DAY)
    world.quotas.count_duplicates(USCC, 100)


async def test_fresh_results_are_never_refused_for_duplicates(world: World) -> None:
    """A stream that is open goes on with what is new, though the share of duplicates is used up."""
    async with world.quotas.stream(USCC):
        with pytest.raises(ResourceExhausted):
            world.quotas.count_duplicates(USCC, 101)
        world.quotas.count_duplicates(USCC, 0)


async def test_streams_of_one_laboratory_take_turns_and_those_of_two_do_not(world: World) -> None:
    """Reading and storing have separate turns, so that the next batch is read while the last one is stored."""
    async with world.quotas.stream(USCC), world.quotas.stream(USCC), world.quotas.stream(OTHER_USCC):
        async with world.quotas.storing(USCC):
            assert world.quotas.storing(USCC).locked()
            assert not world.quotas.reading(USCC).locked()
            assert not world.quotas.storing(OTHER_USCC).locked()
        assert not world.quotas.storing(USCC).locked()
