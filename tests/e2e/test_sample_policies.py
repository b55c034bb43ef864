"""The sample policies on a real Policy service: what each place answered on the days that people remember."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc
import pytest
import yaml
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.policy.v1 import (
    policy_admin_service_pb2,
    policy_admin_service_pb2_grpc,
    policy_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
)
from hutong.type.v1 import purpose_pb2
from hutong.type.v1.refusal_ground_pb2 import (
    REFUSAL_GROUND_NOT_FOUND_IN_LOCAL_CODE,
    REFUSAL_GROUND_NOT_TESTED_LOCALLY,
)

from clients.examples import demo
from clients.examples.node import Node

HOUR = 3600


@dataclass(frozen=True)
class Answer:
    """What applies: the policy's place and id, and its window as hours or days; neither for no result asked."""

    rule: str
    hours: int = 0
    days: int = 0
    overridden: bool = False


NONE = Answer("")
NO_RESULT_ASKED = Answer("000000/no-result-asked")

# Place, purpose, coming from, civil time in China, answer.
QUESTIONS = [
    ("310104", "CITY_TRANSPORT", "", "2022-07-28T23:59:59", Answer("310000/venue-and-transport", 72)),
    ("310104", "CITY_TRANSPORT", "", "2022-08-04T23:59:59", Answer("310000/venue-and-transport", 72, overridden=True)),
    ("310104", "CITY_TRANSPORT", "", "2022-08-05T00:00:00", Answer("310000/venue-and-transport", 72)),
    ("310104", "MEDICAL_INSTITUTION", "", "2022-12-08T00:00:00", Answer("310000/medical", 72)),
    ("110105", "PUBLIC_VENUE", "", "2022-08-11T10:00:00", Answer("110000/venue", days=3, overridden=True)),
    ("110105", "CITY_TRANSPORT", "", "2022-12-05T00:00:00", Answer("110000/transport", days=3)),
    ("410105", "HOTEL", "220500", "2022-08-11T10:00:00", Answer("410000/recognition-from-outside", 48)),
    ("410105", "HOTEL", "410200", "2022-08-11T10:00:00", Answer("410000/recognition-within-province", 48)),
    ("410105", "HOTEL", "220500", "2022-08-04T23:59:59", NONE),
    ("410105", "PUBLIC_VENUE", "", "2022-10-11T23:59:59", Answer("410100/venue-and-transport", 48)),
    ("410105", "PUBLIC_VENUE", "", "2022-10-12T00:00:00", Answer("410100/venue-and-transport", 24)),
    ("370200", "ENTER_JURISDICTION", "220500", "2022-09-13T00:00:00", Answer("370000/entry", 48)),
    ("370200", "ENTER_JURISDICTION", "220500", "2022-11-15T00:00:00", Answer("370000/entry")),
    ("370202", "CITY_TRANSPORT", "", "2022-09-14T00:00:00", Answer("370200/venue-and-transport", 96)),
    ("370202", "MEDICAL_INSTITUTION", "", "2022-09-14T00:00:00", Answer("370200/medical")),
    ("370202", "MEDICAL_INSTITUTION", "", "2022-09-13T23:59:59", NONE),
    ("370102", "PUBLIC_VENUE", "", "2022-11-30T00:00:00", Answer("370100/venue-and-transport", 24)),
    ("220502", "ENTER_JURISDICTION", "220100", "2022-07-12T00:00:00", Answer("220500/entry-within-province", 24)),
    ("220502", "ENTER_JURISDICTION", "410100", "2022-07-12T00:00:00", Answer("220500/entry-from-outside", 48)),
    ("450403", "PUBLIC_VENUE", "", "2022-08-10T00:00:00", Answer("450400/venue", 72)),
    ("450302", "HOTEL", "220500", "2022-09-15T00:00:00", Answer("450300/entry-and-hotel", 48)),
    ("440303", "INTERCITY_TRANSPORT", "", "2022-06-24T00:00:00", Answer("440300/stations-venue-and-transport", 48)),
    ("330102", "PUBLIC_VENUE", "", "2022-06-24T23:59:59", Answer("330100/venue-and-transport", 72)),
    ("330102", "PUBLIC_VENUE", "", "2022-06-25T00:00:00", Answer("330100/venue-and-transport", 168)),
    ("330102", "PUBLIC_VENUE", "", "2022-12-04T00:00:00", Answer("330100/venue-and-transport")),
    ("510104", "MEDICAL_INSTITUTION", "", "2022-09-18T23:59:59", Answer("510100/medical", 24)),
    ("510104", "MEDICAL_INSTITUTION", "", "2022-09-19T00:00:00", NONE),
    ("460200", "HOTEL", "220500", "2022-08-11T10:00:00", NONE),
    ("460200", "HOTEL", "220500", "2022-09-10T00:00:00", Answer("000000/hotel-and-scenic-site", 72)),
    ("460200", "INTERCITY_TRANSPORT", "", "2022-10-31T23:59:59", Answer("000000/travel-between-provinces", 48)),
    ("460200", "INTERCITY_TRANSPORT", "", "2022-11-01T00:00:00", NONE),
    *(
        (region, purpose, "220500", "2022-12-07T00:00:00", NO_RESULT_ASKED)
        for region in (
            "110105",
            "310104",
            "410105",
            "370102",
            "220502",
            "450403",
            "450302",
            "440303",
            "510104",
            "460200",
        )
        for purpose in ("PUBLIC_VENUE", "HOTEL", "INTERCITY_TRANSPORT")
    ),
    ("410105", "SCHOOL", "", "2022-12-07T00:00:00", NONE),
]


@pytest.fixture(scope="module")
def policies(node: Node) -> Iterator[policy_service_pb2_grpc.PolicyServiceStub]:
    """A Policy service that holds the sample set, published file by file in the order of their names."""
    with grpc.insecure_channel(node.addresses["policy"]) as channel:
        admin = policy_admin_service_pb2_grpc.PolicyAdminServiceStub(channel)
        for path in sorted(demo.POLICIES.glob("*.yaml")):
            admin.PublishPolicy(publication(path), timeout=10)
        yield policy_service_pb2_grpc.PolicyServiceStub(channel)


def publication(path: Path) -> policy_admin_service_pb2.PublishPolicyRequest:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    reason = content.pop("retroactive_reason")
    policy = json_format.ParseDict(content, policy_pb2.Policy())
    return policy_admin_service_pb2.PublishPolicyRequest(policy=policy, retroactive_reason=reason)


def answer(effective: policy_pb2.EffectivePolicy) -> Answer:
    rule = effective.governing.split("@")[0].removeprefix("jurisdictions/").replace("/policies/", "/")
    window = effective.test_required.window
    overridden = any(override.field == "test_required.window.basis" for override in effective.overrides)
    return Answer(rule, window.duration.seconds // HOUR, window.calendar_days, overridden)


def resolve(
    policies: policy_service_pb2_grpc.PolicyServiceStub, region: str, purpose: str, arriving_from: str, at: str
) -> policy_pb2.EffectivePolicy:
    at_time = Timestamp()
    at_time.FromDatetime(datetime.fromisoformat(at + "+08:00"))
    request = policy_service_pb2.ResolvePolicyRequest(
        region=region,
        purpose=purpose_pb2.Purpose.Value(f"PURPOSE_{purpose}"),
        arriving_from=arriving_from,
        at_time=at_time,
    )
    return policies.ResolvePolicy(request, timeout=10).effective_policy


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: "-".join(question[:4]))
def test_place_answers_as_on_that_day(
    policies: policy_service_pb2_grpc.PolicyServiceStub, question: tuple[str, str, str, str, Answer]
) -> None:
    """The rule of the place, its window, and whether the floor replaced the basis."""
    region, purpose, arriving_from, at, expected = question
    assert answer(resolve(policies, region, purpose, arriving_from, at)) == expected


def test_floor_binds_every_rule_from_29_july(policies: policy_service_pb2_grpc.PolicyServiceStub) -> None:
    """From that instant no answer anywhere counts from sampling, and the two named grounds are forbidden."""
    named = {REFUSAL_GROUND_NOT_FOUND_IN_LOCAL_CODE, REFUSAL_GROUND_NOT_TESTED_LOCALLY}
    for region, purpose, arriving_from, at, _ in QUESTIONS:
        if at >= "2022-07-29":
            effective = resolve(policies, region, purpose, arriving_from, at)
            assert effective.test_required.window.basis != policy_pb2.BASIS_SAMPLE_TIME
            assert named <= set(effective.forbidden_grounds), (region, purpose, at)
