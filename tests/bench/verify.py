"""Verify through both services on PostgreSQL, against a bare grpc.aio echo of the same messages."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.results.v1 import lab_pb2
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.type.v1 import identity_pb2, purpose_pb2
from hutong.verification.v1.decision_pb2 import DECISION_OUTCOME_RECOGNIZED
from hutong.verification.v1.verification_service_pb2 import VerifyRequest, VerifyResponse
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub

from tests.bench.measure import Measurement
from tests.bench.nodes import bench_node
from tests.bench.people import LAB, make_tubes, resident_number
from tests.bench.upload import send
from tests.databases import PostgresServer

ECHO = "/bench.Echo/Call"
CALLERS = 128
"""Calls under way at once: gates of a busy place; enough for look-ups to meet."""


def bench_verify(directory: Path, postgres: PostgresServer, persons: int, seconds: float) -> list[Measurement]:
    """Both rates within one run, taken in turns so that noise falls on both."""
    urls = {name: postgres.make(name) for name in ("results", "policy", "verification")}
    with bench_node(directory / "node-verify", urls) as addresses:
        now = int(time.time())
        with grpc.insecure_channel(addresses["results"]) as channel:
            lab = lab_pb2.Lab(name=LAB, display_name="bench", region="220500")
            LabServiceStub(channel).CreateLab(CreateLabRequest(lab=lab))
            tubes = make_tubes(persons, report_time=now - 50_000)
            send(channel, "verify", tubes, persons, "accepted_count")
        with grpc.insecure_channel(addresses["policy"]) as channel:
            PolicyAdminServiceStub(channel).PublishPolicy(PublishPolicyRequest(policy=hotel_policy(now)))
        requests = [_question(index * 7919 % persons) for index in range(20_000)]
        with grpc.insecure_channel(addresses["verification"]) as channel:
            response = VerificationServiceStub(channel).Verify(requests[0])
            assert response.decision.outcome == DECISION_OUTCOME_RECOGNIZED, response
        with _echo_server(response.SerializeToString()) as echo:
            rounds = [
                (_rate(addresses["verification"], VERIFY, requests, seconds), _rate(echo, ECHO, requests, seconds))
            ]
            for _ in range(2):
                rounds.append(
                    (_rate(addresses["verification"], VERIFY, requests, seconds), _rate(echo, ECHO, requests, seconds))
                )
    verify, bare = (sorted(rates)[1] for rates in zip(*rounds, strict=True))
    return [Measurement("Verify, unary, PostgreSQL", verify, "bare echo", bare, "calls/s", must=0.4)]


VERIFY = "/hutong.verification.v1.VerificationService/Verify"


def hotel_policy(now: int) -> policy_pb2.Policy:
    """A policy under which everybody in the bench is recognised."""
    policy = policy_pb2.Policy(
        name="jurisdictions/410100/policies/hotel",
        title="example window: hotels",
        purposes=[purpose_pb2.PURPOSE_HOTEL],
        test_required=policy_pb2.TestRequired(
            window=policy_pb2.ValidityWindow(basis=policy_pb2.BASIS_REPORT_TIME),
        ),
    )
    policy.test_required.window.duration.seconds = 7 * 86_400
    policy.effective_start_time.seconds = now
    return policy


def _question(index: int) -> VerifyRequest:
    document = identity_pb2.IdentityDocument(
        type=identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD, number=resident_number(index)
    )
    return VerifyRequest(document=document, region="410105", purpose=purpose_pb2.PURPOSE_HOTEL)


def _rate(address: str, method: str, requests: list[VerifyRequest], seconds: float) -> float:
    """Calls a second by one client with CALLERS calls under way."""
    return asyncio.run(_call_for(address, method, requests, seconds))


async def _call_for(address: str, method: str, requests: list[VerifyRequest], seconds: float) -> float:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(
            method, request_serializer=VerifyRequest.SerializeToString, response_deserializer=VerifyResponse.FromString
        )
        await asyncio.gather(*(call(request) for request in requests[:CALLERS]))
        begun = time.perf_counter()
        counts = await asyncio.gather(
            *(_keep_calling(call, requests[start::CALLERS], begun + seconds) for start in range(CALLERS))
        )
        return sum(counts) / (time.perf_counter() - begun)


async def _keep_calling(call: Callable[[VerifyRequest], Any], requests: list[VerifyRequest], until: float) -> int:
    count = 0
    while time.perf_counter() < until:
        await call(requests[count % len(requests)])
        count += 1
    return count


@contextmanager
def _echo_server(response: bytes) -> Iterator[str]:
    """A bare grpc.aio server in a process of its own that answers every call with the same decision."""
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    process = context.Process(target=_serve_echo, args=(child, response), daemon=True)
    process.start()
    try:
        yield f"127.0.0.1:{parent.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve_echo(pipe: Connection, response: bytes) -> None:
    asyncio.run(_echo(pipe, VerifyResponse.FromString(response)))


async def _echo(pipe: Connection, response: VerifyResponse) -> None:
    async def answer(_request: VerifyRequest, _context: object) -> VerifyResponse:
        return response

    handler = grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=VerifyRequest.FromString, response_serializer=VerifyResponse.SerializeToString
    )
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Call": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(port)
    await server.wait_for_termination()
