"""A province's Policy against a nation that sends impossible changes, many at once, or knows no cursor."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_service_pb2 import (
    PolicyCheckpoint,
    PolicyEvent,
    WatchPoliciesRequest,
    WatchPoliciesResponse,
)
from prometheus_client import REGISTRY

from services.domain.instant import to_timestamp
from services.policy import tables
from services.policy.convert import bare_statement, revision_from_proto, revision_to_proto
from services.policy.timing import PolicyTiming
from services.runtime.clock import SystemClock
from tests.support.databases import MakeUrl
from tests.support.policy.country import PATIENT, make_venue_policy, nation_as_of, province, revisions, wait_until_known
from tests.support.policy.service import Service
from tests.support.results.country import read_rows
from tests.support.servers import add_handler, bare_server
from tests.support.waiting import turns, until

NAME = "jurisdictions/000000/policies/{}"


class PretendedNation:
    """Serves only WatchPolicies. Without a cursor it sends a snapshot; otherwise nothing new, or an unknown cursor."""

    def __init__(self, policies: Sequence[policy_pb2.Policy] = (), refuse: grpc.StatusCode | None = None) -> None:
        self.policies = policies
        self.asked: list[str] = []
        self._refuse = refuse

    async def watch(self, request: WatchPoliciesRequest, context: Any) -> AsyncIterator[WatchPoliciesResponse]:
        self.asked.append(request.cursor)
        if request.cursor and self._refuse is not None:
            await context.abort(self._refuse, "no such cursor")
        for policy in () if request.cursor else self.policies:
            yield WatchPoliciesResponse(event=PolicyEvent(policy=policy), cursor="not the end")
        while True:
            checkpoint = PolicyCheckpoint(as_of_time=to_timestamp(SystemClock().now()), node="nodes/000000")
            yield WatchPoliciesResponse(checkpoint=checkpoint, cursor="the end")
            await turns()


@contextlib.asynccontextmanager
async def following(
    nation: PretendedNation, url: str, directory: Path, timing: PolicyTiming | None = None
) -> AsyncIterator[Service]:
    """Henan, which follows it."""
    watch = grpc.unary_stream_rpc_method_handler(
        nation.watch, WatchPoliciesRequest.FromString, WatchPoliciesResponse.SerializeToString
    )
    handler = grpc.method_handlers_generic_handler("hutong.policy.v1.PolicyService", {"WatchPolicies": watch})
    async with (
        bare_server(add_handler, handler) as address,
        province(url, directory, address, timing=timing) as served,
    ):
        yield served


def told(policy_id: str) -> policy_pb2.Policy:
    """Return a revision as a nation sends it."""
    statement = bare_statement(make_venue_policy(policy_id))
    return revision_to_proto(revision_from_proto(statement, 1, SystemClock().now()))


def cursor(url: str) -> str:
    """Return where the next process of the province begins; "nowhere" before the first answer of the nation."""
    rows = read_rows(url, tables.upstream_positions, "cursor")
    return str(rows[0][0]) if rows else "nowhere"


async def test_what_is_not_understood_is_asked_for_again_at_the_next_start(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """An unknown change holds up no other change.

    A version that knows it receives it, and then stores the cursor again.
    """
    url, spoilt = sqlite_url("policy"), told("spoilt")
    good_hash, spoilt.content_hash = spoilt.content_hash, "0" * 64
    nation = PretendedNation([spoilt, told("good")])
    async with following(nation, url, tmp_path) as henan:
        await wait_until_known(henan, NAME.format("good"))
        assert await revisions(henan, NAME.format("spoilt")) == []
        assert REGISTRY.get_sample_value("hutong_policy_upstream_differences") == 1
        assert cursor(url) == ""
    spoilt.content_hash = good_hash
    async with following(nation, url, tmp_path) as henan:
        await wait_until_known(henan, NAME.format("spoilt"))
        await until(lambda: REGISTRY.get_sample_value("hutong_policy_upstream_differences") == 0)
        await until(lambda: cursor(url) == "the end")
    assert nation.asked == ["", ""]


async def test_a_snapshot_of_any_size_is_taken_in_before_its_end_is_claimed(
    tmp_path: Path, database_url: MakeUrl
) -> None:
    """The snapshot is stored in several transactions. The last one stores the position."""
    url = database_url("policy")
    nation = PretendedNation([told(f"policy-{number}") for number in range(20)])
    async with following(nation, url, tmp_path, replace(PATIENT, revisions_per_write=7)) as henan:

        async def is_claimed() -> bool:
            return await nation_as_of(henan) > 0

        await until(is_claimed)
        assert all([await revisions(henan, NAME.format(f"policy-{number}")) for number in range(20)])
        assert cursor(url) == "the end"
    async with following(nation, url, tmp_path) as henan:
        await until(lambda: nation.asked == ["", "the end"])


@pytest.mark.parametrize("code", [grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.INVALID_ARGUMENT])
async def test_a_cursor_that_the_nation_does_not_know_is_dropped(
    tmp_path: Path, sqlite_url: MakeUrl, code: grpc.StatusCode
) -> None:
    """If the cursor comes from another database or version, everything is sent again."""
    url = sqlite_url("policy")
    async with following(PretendedNation(), url, tmp_path):
        await until(lambda: cursor(url) == "the end")
    nation = PretendedNation([told("new")], refuse=code)
    async with following(nation, url, tmp_path) as henan:
        await wait_until_known(henan, NAME.format("new"))
    assert nation.asked == ["the end", ""]
