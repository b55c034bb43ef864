"""A province's Policy while the nation is away, silent, slow, restored from a backup, or not the nation at all."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from hutong.policy.v1.policy_admin_service_pb2 import WithdrawPolicyRequest
from hutong.policy.v1.policy_service_pb2 import WatchPoliciesRequest
from prometheus_client import REGISTRY
from sqlalchemy import delete
from structlog.testing import capture_logs

from services.domain.instant import SECOND, Instant, from_timestamp
from services.policy import tables
from services.policy.timing import PolicyTiming
from services.runtime.clock import SystemClock
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.link import Link, link_to
from tests.support.policy.country import (
    FLOOR,
    NATION_POLICY,
    PATIENT,
    make_floor,
    make_venue_policy,
    nation_as_of,
    province,
    resolve,
    revisions,
    wait_until_governing,
    wait_until_known,
)
from tests.support.policy.service import Service, make_policy, policy_at
from tests.support.waiting import until

CITY_POLICY = "jurisdictions/410100/policies/hotel"


@contextlib.asynccontextmanager
async def nation_at(url: str, directory: Path) -> AsyncIterator[tuple[Service, Link]]:
    """A national node, and the way to it."""
    async with policy_at(url, directory) as nation, link_to(nation.address) as link:
        yield nation, link


IMPATIENT = replace(PATIENT, silence_seconds=1.5)
"""Gives a silent watch up sooner than in production."""
RECOVERY_SECONDS = 25.0
"""The time of a busy machine for what takes two seconds; less than TCP or a keepalive alone would take."""


async def test_the_nations_policies_hold_while_it_is_unavailable_and_after_a_restart(
    tmp_path: Path, database_url: MakeUrl
) -> None:
    """The province goes on to publish meanwhile; what it missed comes at once when the nation is back."""
    url = database_url("policy")
    async with nation_at(database_url("policy"), tmp_path) as (nation, link):
        await nation.publish(make_policy(NATION_POLICY))
        await nation.publish(make_floor())
        async with province(url, tmp_path, link.address) as henan:
            await wait_until_known(henan, FLOOR)
            # The first answer says that the province has been founded, for which it needs the nation.
            assert await henan.governing() == f"{NATION_POLICY}@1"
            await link.cut()
            assert await henan.governing() == f"{NATION_POLICY}@1"
        await nation.publish(make_policy(NATION_POLICY, hours=24))
        async with province(url, tmp_path, link.address) as henan:
            effective = await resolve(henan)
            assert (effective.governing, effective.floor) == (f"{NATION_POLICY}@1", f"{FLOOR}@1")
            await henan.publish(make_policy(CITY_POLICY))
            assert await henan.governing() == f"{CITY_POLICY}@1"
            link.mend()
            await wait_until_governing(henan, f"{NATION_POLICY}@2", "419001", seconds=RECOVERY_SECONDS)


async def test_nation_as_of_time_stands_still_while_the_nation_is_unavailable(
    tmp_path: Path, sqlite_url: MakeUrl
) -> None:
    """The province's own instant moves on. After a restart the nation's instant is the last one stored."""
    url = sqlite_url("policy")
    async with nation_at(sqlite_url("policy"), tmp_path) as (_, link):
        async with province(url, tmp_path, link.address) as henan:
            await until(lambda: _is_known(henan))
            await link.cut()
            stopped: Instant = 0

            async def stands_still() -> bool:
                """Return whether `nation_as_of_time` stood still while the province's own instant moved by a second."""
                nonlocal stopped
                stopped, later = await nation_as_of(henan), SystemClock().now() + SECOND

                async def own_moves_on() -> bool:
                    return from_timestamp((await resolve(henan)).as_of_time) > later

                await until(own_moves_on)
                return await nation_as_of(henan) == stopped

            # The province may process a heartbeat after the cut that arrived before it.
            await until(stands_still)
        async with province(url, tmp_path, link.address) as henan:
            await until(lambda: _is_known(henan))
            assert await nation_as_of(henan) <= stopped


async def _is_known(service: Service) -> bool:
    return await nation_as_of(service) > 0


async def test_a_connection_that_is_half_open_is_given_up_for_a_new_one(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """Long before TCP or a keepalive would notice: the nation's silence is enough."""
    async with (
        nation_at(sqlite_url("policy"), tmp_path) as (nation, link),
        province(sqlite_url("policy"), tmp_path, link.address, timing=IMPATIENT) as henan,
    ):
        await nation.publish(make_policy(NATION_POLICY))
        await wait_until_governing(henan, f"{NATION_POLICY}@1")
        link.strand()
        await nation.publish(make_policy(NATION_POLICY, hours=24))
        await wait_until_governing(henan, f"{NATION_POLICY}@2", seconds=RECOVERY_SECONDS)


async def test_a_nation_that_is_frozen_is_served_without_and_caught_up_with(
    tmp_path: Path, sqlite_url: MakeUrl
) -> None:
    """New connections are silent too, try after try, until it thaws."""
    async with (
        nation_at(sqlite_url("policy"), tmp_path) as (nation, link),
        province(sqlite_url("policy"), tmp_path, link.address, timing=IMPATIENT) as henan,
    ):
        await nation.publish(make_policy(NATION_POLICY))
        await wait_until_governing(henan, f"{NATION_POLICY}@1")
        link.freeze()
        with capture_logs() as logs:
            await until(lambda: any("not watched" in line["event"] for line in logs))
        assert await henan.governing() == f"{NATION_POLICY}@1"
        await nation.publish(make_policy(NATION_POLICY, hours=24))
        link.mend()
        await wait_until_governing(henan, f"{NATION_POLICY}@2", seconds=RECOVERY_SECONDS)


async def test_a_slow_link_makes_it_late_and_nothing_else(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """Every chunk of either direction waits for a second, those of the connection's beginning among them."""
    async with nation_at(sqlite_url("policy"), tmp_path) as (nation, link):
        link.slow(1.0)
        async with province(sqlite_url("policy"), tmp_path, link.address) as henan:
            await nation.publish(make_policy(NATION_POLICY))
            await wait_until_governing(henan, f"{NATION_POLICY}@1")


async def test_processes_of_a_province_follow_side_by_side(tmp_path: Path, database_url: MakeUrl) -> None:
    """Two processes share a database while publications come. Each sends all changes, each once."""
    url = database_url("policy")
    async with (
        nation_at(database_url("policy"), tmp_path) as (nation, link),
        province(url, tmp_path, link.address) as one,
        province(url, tmp_path, link.address) as other,
    ):
        for number in range(1, 11):
            await nation.publish(make_policy(NATION_POLICY, hours=number))
        for henan in (one, other):
            await wait_until_governing(henan, f"{NATION_POLICY}@10")
            call: Any = henan.read.WatchPolicies(WatchPoliciesRequest())
            told = [await call.read() for _ in range(11)]
            assert [message.event.policy.revision for message in told] == [*range(1, 11), 0]
            assert told[-1].cursor.startswith("10-")
            call.cancel()
        await nation.admin.WithdrawPolicy(WithdrawPolicyRequest(name=f"{NATION_POLICY}@10", reason="over"))
        for henan in (one, other):
            await wait_until_governing(henan, f"{NATION_POLICY}@9")


async def test_a_nation_that_was_restored_is_read_anew_and_takes_nothing_back(
    tmp_path: Path, database_url: MakeUrl
) -> None:
    """The nation lost publications and made as many new ones since, so the cursor's number belongs to another change.

    What the nation lost stays in force here. A revision with a known number and new content is not taken over. Both are
    reported and counted.
    """
    url = database_url("policy")
    async with nation_at(url, tmp_path) as (nation, link):
        for policy in (make_policy(NATION_POLICY), make_venue_policy("lost"), make_venue_policy("another")):
            await nation.publish(policy)
        async with province(database_url("policy"), tmp_path, link.address) as henan:
            await wait_until_known(henan, "jurisdictions/000000/policies/another")
            another = await revisions(henan, "jurisdictions/000000/policies/another")
            await link.cut()
            _lose_changes(url, after=1)
            async with policy_at(url, tmp_path) as restored:
                await restored.publish(make_venue_policy("first"))
                await restored.publish(make_venue_policy("another"))
                await restored.publish(make_venue_policy("second"))
                with capture_logs() as logs:
                    link.lead_to(restored.address)
                    link.mend()
                    await wait_until_known(henan, "jurisdictions/000000/policies/second")
                    # What the nation lost is known at the end of its answer.
                    await until(lambda: REGISTRY.get_sample_value("hutong_policy_upstream_differences") == 2)
                assert await revisions(henan, "jurisdictions/000000/policies/first")
                assert await revisions(henan, "jurisdictions/000000/policies/another") == another
                assert await revisions(henan, "jurisdictions/000000/policies/lost")
                assert {line["policy"] for line in logs if line["log_level"] == "error"} == {
                    "jurisdictions/000000/policies/another@1",
                    "jurisdictions/000000/policies/lost@1",
                }
                assert await henan.governing() == f"{NATION_POLICY}@1"


def _lose_changes(url: str, *, after: int) -> None:
    """Remove changes as a restore from an earlier backup would. There are as many policies as changes."""
    database = open_database(url)
    lost = tables.policy_changes.c.sequence > after
    database.write_now(
        lambda connection: [
            connection.execute(delete(tables.policies).where(tables.policies.c.policy_id.in_(["lost", "another"]))),
            connection.execute(delete(tables.policy_changes).where(lost)),
        ]
    )
    database.close()


async def test_a_withdrawal_is_noticed_after_a_lost_cursor(tmp_path: Path, database_url: MakeUrl) -> None:
    """The cursor is gone, and the snapshot shows what was withdrawn meanwhile."""
    url = database_url("policy")
    async with nation_at(database_url("policy"), tmp_path) as (nation, link):
        await nation.publish(make_policy(NATION_POLICY))
        async with province(url, tmp_path, link.address) as henan:
            await wait_until_governing(henan, f"{NATION_POLICY}@1")
        await nation.admin.WithdrawPolicy(WithdrawPolicyRequest(name=f"{NATION_POLICY}@1", reason="over"))
        database = open_database(url)
        database.write_now(lambda connection: connection.execute(delete(tables.upstream_positions)))
        database.close()
        async with province(url, tmp_path, link.address) as henan:
            await wait_until_governing(henan, "")


async def test_an_upstream_that_is_not_the_nation_is_not_watched(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """A province whose setting leads to another one takes in nothing, is not founded, and answers nothing.

    It starts because it did not get an answer in time at its start.
    """
    async with nation_at(sqlite_url("policy"), tmp_path) as (nation, link):
        await nation.publish(make_policy(NATION_POLICY))
        async with province(sqlite_url("policy"), tmp_path, link.address, "370000") as shandong:
            await wait_until_governing(shandong, f"{NATION_POLICY}@1", "370100")
            with capture_logs() as logs:
                hasty = PolicyTiming(founding_seconds=0.2, upstream_check_seconds=0.0)
                async with province(sqlite_url("policy"), tmp_path, shandong.address, timing=hasty) as henan:
                    await until(lambda: any(line.get("why") == "NOT_AN_UPSTREAM" for line in logs))
                    assert "leads to nodes/370000" in str(logs)
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await henan.governing()
                    assert error_info(caught.value).reason == "UPSTREAM_UNAVAILABLE"


async def test_a_database_that_is_lost_for_a_while_ends_nothing(tmp_path: Path, database_url: MakeUrl) -> None:
    """Changes that the nation sent meanwhile are sent again once they can be stored."""
    url = database_url("policy")
    async with (
        nation_at(database_url("policy"), tmp_path) as (nation, link),
        province(url, tmp_path, link.address) as henan,
    ):
        await nation.publish(make_policy(NATION_POLICY))
        await wait_until_governing(henan, f"{NATION_POLICY}@1")
        _run(url, "ALTER TABLE upstream_positions RENAME TO lost_positions")
        with capture_logs() as logs:
            await nation.publish(make_policy(NATION_POLICY, hours=24))
            await until(lambda: any("not watched" in line["event"] for line in logs))
        assert await henan.governing() == f"{NATION_POLICY}@1"
        _run(url, "ALTER TABLE lost_positions RENAME TO upstream_positions")
        await wait_until_governing(henan, f"{NATION_POLICY}@2")


def _run(url: str, statement: str) -> None:
    database = open_database(url)
    database.write_now(lambda connection: connection.exec_driver_sql(statement))
    database.close()
