"""Measures Policy with 3,000 jurisdictions x 12 purposes: questions, start, memory, publications and watchers."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from functools import partial
from pathlib import Path

import grpc
import psutil
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest, PublishPolicyResponse
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.policy.v1.policy_service_pb2 import (
    BatchResolvePoliciesRequest,
    ResolvePolicyRequest,
    ResolvePolicyResponse,
    WatchPoliciesRequest,
)
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub

from clients.examples.node import Node, free_addresses
from tests.bench import echo
from tests.bench.book import JURISDICTIONS, PURPOSES, load_book, make_policy, regions
from tests.bench.callers import Target, unary_rate
from tests.bench.measure import Measurement, in_turns
from tests.support.databases import PostgresServer

CALLERS = 128
PUBLICATIONS = 31
WATCHERS = 20
RESOLVE = "/hutong.policy.v1.PolicyService/ResolvePolicy"
BOOK = f"{JURISDICTIONS:,} x {len(PURPOSES)} policies"


def bench_policy(directory: Path, postgres: PostgresServer, seconds: float) -> list[Measurement]:
    """Measure all figures on one loaded book."""
    url = postgres.make("policy")
    load_book(url)
    node = Node(
        directory / "node-policy",
        free_addresses(),
        {"HUTONG_POLICY_DATABASE_URL": url, "HUTONG_JURISDICTION": "000000"},
    )
    begun = time.perf_counter()
    try:
        node.start("policy")
        start = time.perf_counter() - begun
        address, process = node.addresses["policy"], psutil.Process(node.pids()["policy"])
        loaded = process.memory_info().rss
        lines = [_resolve(address, seconds)]
        asked = process.memory_info().rss
        publishing, watching = asyncio.run(_publish(address))
        preview, changed = _preview(address)
    finally:
        node.stop()
    return [
        *lines,
        _within(f"  start with {BOOK}", 15_000, start * 1_000, "ms"),
        _within("  memory after the start", 400, loaded / 2**20, "MiB"),
        _within("  memory, every question asked", 800, asked / 2**20, "MiB"),
        _within("PublishPolicy, median", 100, publishing * 1_000, "ms"),
        _within(f"  to each of {WATCHERS} watchers, median", 100, watching * 1_000, "ms"),
        _within(f"  preview of a national rule, {changed:,} answers", 10_000, preview * 1_000, "ms"),
    ]


def _within(what: str, allowed: float, measured: float, unit: str) -> Measurement:
    return Measurement(what, allowed, f"({allowed:,.0f} {unit} allowed)", measured, unit, must=1)


def _resolve(address: str, seconds: float) -> Measurement:
    """Measure ResolvePolicy over every kind of question.

    Every question is asked once before, so that the service is warm.
    """
    questions = [
        ResolvePolicyRequest(region=region, purpose=purpose, arriving_from=origin)  # type: ignore[arg-type]
        for region in regions()
        for purpose in PURPOSES
        for origin in ("", "650000")
    ]
    random.Random(81).shuffle(questions)
    with grpc.insecure_channel(address) as channel:
        policies = PolicyServiceStub(channel)
        response = policies.ResolvePolicy(questions[0])
        assert response.effective_policy.governing, response
        for start in range(0, len(questions), 500):
            policies.BatchResolvePolicies(BatchResolvePoliciesRequest(requests=questions[start : start + 500]))
    target = Target(address, RESOLVE, ResolvePolicyResponse)
    with echo.echo_server(questions[0], response) as bare_address:
        bare = Target(bare_address, echo.CALL, ResolvePolicyResponse)
        rate, limit = in_turns(
            seconds, *(partial(unary_rate, one, questions, callers=CALLERS) for one in (target, bare))
        )
    return Measurement(f"ResolvePolicy, {BOOK}", rate, "bare echo", limit, "calls/s", must=0.6)


async def _publish(address: str) -> tuple[float, float]:
    """Return the median seconds from a publication's start to its answer, and to its event at each watcher."""
    async with grpc.aio.insecure_channel(address) as channel:
        admin, policies = PolicyAdminServiceStub(channel), PolicyServiceStub(channel)
        cursor = await _newest(policies)
        calls = [policies.WatchPolicies(WatchPoliciesRequest(cursor=cursor)) for _ in range(WATCHERS)]

        async def await_event(call: grpc.aio.UnaryStreamCall, title: str) -> float:  # type: ignore[type-arg]
            while (await call.read()).event.policy.title != title:
                pass
            return time.perf_counter()

        answered, seen = [], []
        for number, region in enumerate(random.Random(81).sample(regions(), PUBLICATIONS)):
            policy = make_policy(region, PURPOSES[number % len(PURPOSES)], title=f"example window {number}")
            policy.effective_start_time.seconds = int(time.time())
            watching = [asyncio.ensure_future(await_event(call, policy.title)) for call in calls]
            begun = time.perf_counter()
            await admin.PublishPolicy(PublishPolicyRequest(policy=policy))
            answered.append(time.perf_counter() - begun)
            seen += [moment - begun for moment in await asyncio.gather(*watching)]
        for call in calls:
            call.cancel()
    return statistics.median(answered), statistics.median(seen)


async def _newest(policies: PolicyServiceStub) -> str:
    """Return a cursor after the snapshot."""
    call = policies.WatchPolicies(WatchPoliciesRequest())
    while (message := await call.read()).WhichOneof("message") != "checkpoint":
        pass
    call.cancel()
    return str(message.cursor)


def _preview(address: str) -> tuple[float, int]:
    """Return the seconds of a dry run of a national floor with its impact, and how many answers the floor changes."""
    floor = make_policy("000000", 0, title="example floor", floor=True)
    floor.effective_start_time.seconds = int(time.time())
    floor.test_required.window.basis = policy_pb2.VALIDITY_BASIS_SAMPLE_TIME
    request = PublishPolicyRequest(policy=floor, validate_only=True, impact_time=floor.effective_start_time)
    with grpc.insecure_channel(address) as channel:
        begun = time.perf_counter()
        response: PublishPolicyResponse = PolicyAdminServiceStub(channel).PublishPolicy(request)
    return time.perf_counter() - begun, response.impact_count
