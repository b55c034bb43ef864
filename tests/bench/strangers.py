"""Measures questions about strangers: persons of whom the province has nothing and the nation has a result.

With the scope unset the province looks at its own records first and then asks the nation in a further call.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import grpc
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.results.v1 import lab_pb2, lookup_pb2
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.verification.v1.decision_pb2 import DECISION_OUTCOME_RECOGNIZED
from hutong.verification.v1.verification_service_pb2 import BatchVerifyRequest, BatchVerifyResponse

from tests.bench.callers import Target, unary_rate
from tests.bench.gates import hotel_policy, make_question
from tests.bench.measure import Measurement, in_turns
from tests.bench.nodes import bench_node
from tests.bench.tubes import LAB, make_tubes
from tests.bench.upload import send
from tests.support.databases import PostgresServer

STRANGERS = 500
"""Persons in one batch."""
MOST_TIMES = 1.2
"""How many times as long a batch with the scope unset may take at most as the same batch NATIONWIDE."""
BATCHES_AHEAD = 1
BATCHES = 40


def bench_strangers(directory: Path, postgres: PostgresServer, persons: int, seconds: float) -> list[Measurement]:
    """Run a nation and a province on PostgreSQL, and ask the province with both scopes in turns."""
    above = {"HUTONG_JURISDICTION": "000000"}
    nation_urls = {name: postgres.make(name) for name in ("results", "policy")}
    urls = {name: postgres.make(name) for name in ("results", "policy", "verification")}
    with bench_node(directory / "strangers-nation", nation_urls, above) as nation:
        joined = {"HUTONG_UPSTREAM": nation["results"], "HUTONG_UPSTREAM_POLICY": nation["policy"]}
        with bench_node(directory / "strangers-province", urls, joined) as province:
            now = int(time.time())
            with grpc.insecure_channel(nation["results"]) as channel:
                lab = lab_pb2.Lab(name=LAB, display_name="bench", region="220500")
                LabServiceStub(channel).CreateLab(CreateLabRequest(lab=lab))
                send(channel, "strangers", make_tubes(persons, report_time=now - 50_000), persons, "accepted_count")
            with grpc.insecure_channel(province["policy"]) as channel:
                PolicyAdminServiceStub(channel).PublishPolicy(PublishPolicyRequest(policy=hotel_policy(now)))
            target = Target(
                province["verification"],
                "/hutong.verification.v1.VerificationService/BatchVerify",
                BatchVerifyResponse,
                lambda batch: all(it.decision.outcome == DECISION_OUTCOME_RECOGNIZED for it in batch.items),
            )
            scopes = (lookup_pb2.LOOKUP_SCOPE_UNSPECIFIED, lookup_pb2.LOOKUP_SCOPE_NATIONWIDE)
            unset, nationwide = in_turns(
                seconds, *(partial(_batches_a_second, target, _batches(scope, persons)) for scope in scopes)
            )
    return [
        Measurement(
            "BatchVerify of 500 strangers, scope unset",
            unset * STRANGERS,
            f"the same NATIONWIDE, {MOST_TIMES:g} times as long",
            nationwide * STRANGERS,
            "persons/s",
            must=1 / MOST_TIMES,
        )
    ]


def _batches_a_second(target: Target, batches: list[BatchVerifyRequest], seconds: float) -> float:
    return unary_rate(target, batches, seconds, BATCHES_AHEAD)


def _batches(scope: lookup_pb2.LookupScope.ValueType, persons: int) -> list[BatchVerifyRequest]:
    """Return batches about persons with results at the nation, each about other persons than the one before."""
    questions = [make_question(index * 7919 % persons) for index in range(BATCHES * STRANGERS)]
    for question in questions:
        question.scope = scope
    return [
        BatchVerifyRequest(requests=questions[start : start + STRANGERS])
        for start in range(0, len(questions), STRANGERS)
    ]
