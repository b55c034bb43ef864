"""The sample policies on a real Policy service: what each place answered on the days that people remember."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.policy.v1.policy_pb2 import VALIDITY_BASIS_SAMPLE_TIME, EffectivePolicy
from hutong.policy.v1.policy_service_pb2 import BatchResolvePoliciesRequest
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from hutong.type.v1.refusal_ground_pb2 import REFUSAL_GROUND_NOT_FOUND_IN_LOCAL_CODE, REFUSAL_GROUND_NOT_TESTED_LOCALLY

from tests.support.client.forked_node import forked_node
from tests.support.policy import record
from tests.support.policy.record import Case
from tests.support.waiting import TIMEOUT_SECONDS

CASES = list(record.cases())
BATCH = 500
THE_FLOOR = 1_659_024_000
"""29 July 2022 in Asia/Shanghai, in seconds since 1970."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Case, EffectivePolicy]]]:
    """Every question of the record with its answer, by a service that was given the samples file by file."""
    with (
        forked_node(tmp_path_factory.mktemp("node"), ["policy"]) as node,
        grpc.insecure_channel(node.addresses["policy"]) as channel,
    ):
        for request in record.publications():
            PolicyAdminServiceStub(channel).PublishPolicy(request, timeout=TIMEOUT_SECONDS)
        told = []
        for start in range(0, len(CASES), BATCH):
            request = BatchResolvePoliciesRequest(requests=[case.question for case in CASES[start : start + BATCH]])
            told += PolicyServiceStub(channel).BatchResolvePolicies(request, timeout=TIMEOUT_SECONDS).items
        yield [(case, record.policy_of(item)) for case, item in zip(CASES, told, strict=True)]


def test_places_answer_as_on_those_days(answers: list[tuple[Case, EffectivePolicy]]) -> None:
    """Every row of the record: the rule, its window, and whether the floor replaced the basis."""
    told = [record.describe_expected(effective, case.expected) for case, effective in answers]
    assert told == [case.expected for case, _ in answers]


def test_floor_binds_every_rule_from_29_july(answers: list[tuple[Case, EffectivePolicy]]) -> None:
    """From that instant, no answer counts from sampling, and the two named grounds are forbidden."""
    named = {REFUSAL_GROUND_NOT_FOUND_IN_LOCAL_CODE, REFUSAL_GROUND_NOT_TESTED_LOCALLY}
    since = [(case, effective) for case, effective in answers if case.question.effective_time.seconds >= THE_FLOOR]
    assert len(since) > 50
    policies = [
        (case, policy)
        for case, effective in since
        for policy in (
            [effective]
            if isinstance(effective, EffectivePolicy)
            else [effective.same_province, effective.other_province]
        )
    ]
    for case, effective in policies:
        assert effective.test_required.window.basis != VALIDITY_BASIS_SAMPLE_TIME
        assert named <= set(effective.forbidden_grounds), case
