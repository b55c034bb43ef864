"""A node with a day's results and one policy, and the questions that gates ask it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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

from tests.bench.nodes import bench_processes
from tests.bench.tubes import LAB, make_tubes
from tests.bench.upload import send
from tests.support.databases import PostgresServer
from tests.support.people import NAMES, resident_number


@dataclass(frozen=True, slots=True)
class GateNode:
    """A running node.

    Attributes:
        results: the address of Results.
        policy: that of Policy.
        verification: that of Verification.
        pids: the processes of the services by name.
        urls: the databases of the services.
        persons: how many persons have a result.
        response: one of the answers.
    """

    results: str
    policy: str
    verification: str
    pids: dict[str, int]
    urls: dict[str, str]
    persons: int
    response: VerifyResponse

    def questions(self, count: int) -> list[VerifyRequest]:
        """Return questions about persons with results, each about another person than the one before."""
        return [make_question(index * 7919 % self.persons) for index in range(count)]


def node_databases(postgres: PostgresServer) -> dict[str, str]:
    """Make a database for each service and return their URLs."""
    return {name: postgres.make(name) for name in ("results", "policy", "verification")}


@contextmanager
def gate_node(directory: Path, urls: dict[str, str], persons: int) -> Iterator[GateNode]:
    """Run all three services on these databases until the block ends."""
    with bench_processes(directory / "node-gates", urls) as node:
        addresses = node.addresses
        now = int(time.time())
        with grpc.insecure_channel(addresses["results"]) as channel:
            lab = lab_pb2.Lab(name=LAB, display_name="bench", region="220500")
            LabServiceStub(channel).CreateLab(CreateLabRequest(lab=lab))
            send(channel, "gates", make_tubes(persons, report_time=now - 50_000), persons, "accepted_count")
        with grpc.insecure_channel(addresses["policy"]) as channel:
            PolicyAdminServiceStub(channel).PublishPolicy(PublishPolicyRequest(policy=hotel_policy(now)))
        with grpc.insecure_channel(addresses["verification"]) as channel:
            response = VerificationServiceStub(channel).Verify(make_question(0))
            assert response.decision.outcome == DECISION_OUTCOME_RECOGNIZED, response
        places = [addresses[name] for name in ("results", "policy", "verification")]
        yield GateNode(*places, node.pids(), urls, persons, response)


def hotel_policy(now: int) -> policy_pb2.Policy:
    """Return a policy under which every result of the bench is recognised."""
    policy = policy_pb2.Policy(
        name="jurisdictions/410100/policies/hotel",
        title="example window: hotels",
        purposes=[purpose_pb2.PURPOSE_HOTEL],
        test_required=policy_pb2.TestRequired(
            window=policy_pb2.ValidityWindow(basis=policy_pb2.VALIDITY_BASIS_REPORT_TIME),
        ),
    )
    policy.test_required.window.duration.seconds = 7 * 86_400
    policy.effective_start_time.seconds = now
    return policy


def make_question(index: int) -> VerifyRequest:
    """Return a hotel's question about the person with this number."""
    document = identity_pb2.IdentityDocument(
        type=identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD,
        number=resident_number(index),
        name=NAMES[index % len(NAMES)],
    )
    return VerifyRequest(document=document, region="410105", purpose=purpose_pb2.PURPOSE_HOTEL)
