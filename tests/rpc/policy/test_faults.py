"""Answers of real servers to faulty publications and questions: all faults at once, and never INTERNAL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest, WithdrawPolicyRequest
from hutong.policy.v1.policy_service_pb2 import (
    BatchResolvePoliciesRequest,
    GetPolicyRequest,
    ListPoliciesRequest,
    ListPolicyRevisionsRequest,
    ResolvePolicyRequest,
)

from services.domain.instant import DAY, HOUR, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.databases import MakeUrl
from tests.support.errors import error_info, field_violations, rich_status
from tests.support.policy.service import HOTEL, Service, make_policy, policy_at

in_module = pytest.mark.asyncio(loop_scope="module")
"""The mark of tests with `empty_service`. The event loop of these tests lasts as long as their module."""
NUL, ESCAPE, NEWLINE = "a\0b", "a\x1b[31mb", "a\nb"


@contextlib.contextmanager
def refused(code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT):  # type: ignore[no-untyped-def]
    """The block's call is refused with a code."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield caught
    assert caught.value.code() == code, caught.value.details()


def spoil(change: Callable[[policy_pb2.Policy], object]) -> policy_pb2.Policy:
    """A good policy with one change."""
    policy = make_policy()
    change(policy)
    return policy


TEXTS: dict[str, Callable[[policy_pb2.Policy, str], object]] = {
    "policy.title": lambda policy, text: setattr(policy, "title", text),
    "policy.source.title": lambda policy, text: setattr(policy.source, "title", text),
    "policy.source.document_number": lambda policy, text: setattr(policy.source, "document_number", text),
    "policy.source.url": lambda policy, text: setattr(policy.source, "url", text),
    "policy.source.issue_date": lambda policy, text: setattr(policy.source, "issue_date", text),
    "policy.advice[0]": lambda policy, text: policy.advice.append(text),
}


@in_module
@pytest.mark.parametrize("field", TEXTS)
async def test_control_characters_are_refused_in_every_text(empty_service: Service, field: str) -> None:
    """NUL, which PostgreSQL cannot keep, and what would move the cursor of a screen."""
    for text in (NUL, ESCAPE, NEWLINE):
        policy = make_policy()
        TEXTS[field](policy, text)
        for validate_only in (False, True):
            with refused() as caught:
                await empty_service.publish(policy, validate_only=validate_only)
            assert list(field_violations(caught.value)) == [field]


async def test_reasons_take_lines_and_no_nul(service: Service) -> None:
    """A reason may have several lines."""
    early = make_policy()
    early.effective_start_time.CopyFrom(to_timestamp(SystemClock().now() - DAY))
    with refused() as caught:
        await service.publish(early, retroactive_reason=NUL)
    assert list(field_violations(caught.value)) == ["retroactive_reason"]
    name = (await service.publish(early, retroactive_reason=NEWLINE)).policy.name
    with refused() as caught:
        await service.admin.WithdrawPolicy(WithdrawPolicyRequest(name=name, reason=NUL))
    assert list(field_violations(caught.value)) == ["reason"]
    withdrawn = await service.admin.WithdrawPolicy(WithdrawPolicyRequest(name=name, reason=NEWLINE))
    assert withdrawn.policy.withdraw_reason == NEWLINE


WINDOW = "policy.test_required.window"


@in_module
@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda p: setattr(p.test_required.window.duration, "seconds", 0), f"{WINDOW}.duration"),
        (lambda p: p.test_required.window.duration.FromNanoseconds(999), f"{WINDOW}.duration"),
        (lambda p: setattr(p.test_required.window.duration, "seconds", -1), f"{WINDOW}.duration"),
        (lambda p: setattr(p.test_required.window.duration, "seconds", 2**62), f"{WINDOW}.duration"),
        (lambda p: setattr(p.test_required.window, "calendar_days", 0), f"{WINDOW}.calendar_days"),
        (lambda p: setattr(p.test_required.window, "calendar_days", 366), f"{WINDOW}.calendar_days"),
        (lambda p: p.test_required.window.ClearField("duration"), f"{WINDOW}.length"),
        (lambda p: setattr(p.test_required.window, "basis", 0), f"{WINDOW}.basis"),
        (lambda p: setattr(p.test_required.window, "basis", 9), f"{WINDOW}.basis"),
        (
            lambda p: p.test_required.sampling_proof_window.FromNanoseconds(1),
            "policy.test_required.sampling_proof_window",
        ),
        (lambda p: p.ClearField("test_required"), "policy.requirement"),
        (lambda p: p.ClearField("title"), "policy.title"),
        (lambda p: p.ClearField("name"), "policy.name"),
        (lambda p: setattr(p, "name", "jurisdictions/410100/policies/x\n"), "policy.name"),
        (lambda p: p.ClearField("effective_start_time"), "policy.effective_start_time"),
        (lambda p: setattr(p.effective_start_time, "seconds", 2**62), "policy.effective_start_time"),
        (lambda p: setattr(p.effective_start_time, "seconds", -(2**62)), "policy.effective_start_time"),
        (lambda p: setattr(p.effective_start_time, "seconds", 253_402_300_799), "policy.effective_start_time"),
        (lambda p: setattr(p.effective_start_time, "nanos", -1), "policy.effective_start_time"),
        (lambda p: setattr(p.test_required.window.duration, "nanos", 10**9), "policy.test_required.window.duration"),
        (lambda p: setattr(p.effective_end_time, "seconds", 2**62), "policy.effective_end_time"),
        (lambda p: p.effective_end_time.CopyFrom(p.effective_start_time), "policy.effective_end_time"),
        (lambda p: setattr(p.effective_end_time, "seconds", 1), "policy.effective_end_time"),
        (lambda p: p.purposes.append(HOTEL), "policy.purposes"),
        (lambda p: p.purposes.append(99), "policy.purposes[1]"),
        (lambda p: setattr(p, "origin", 9), "policy.origin"),
        (lambda p: p.channels.extend([1, 1]), "policy.channels"),
        (lambda p: setattr(p.source, "issue_date", "2022-02-30"), "policy.source.issue_date"),
        (lambda p: p.advice.extend("abcdefghijk"), "policy.advice"),
        (lambda p: setattr(p, "floor", True), f"{WINDOW}.length"),
    ],
)
async def test_each_fault_names_its_field(
    empty_service: Service, change: Callable[[policy_pb2.Policy], object], field: str
) -> None:
    """Once, whichever of the contract and the rules found it; nothing is stored."""
    with refused() as caught:
        await empty_service.publish(spoil(change))
    assert list(field_violations(caught.value)) == [field]
    assert not (await empty_service.read.ListPolicies(ListPoliciesRequest())).policies


@in_module
async def test_publication_without_a_policy_is_refused(empty_service: Service) -> None:
    """A missing policy is not taken for an empty one."""
    with refused() as caught:
        await empty_service.admin.PublishPolicy(PublishPolicyRequest())
    assert list(field_violations(caught.value)) == ["policy"]


async def test_all_faults_of_a_policy_are_reported_at_once(service: Service) -> None:
    """A title, an end before its start, a window of zero, a floor undercut, a tie and a start in the past."""
    now = SystemClock().now()
    floor = make_policy("jurisdictions/000000/policies/notice", floor=True)
    floor.effective_start_time.CopyFrom(to_timestamp(now - 2 * DAY))
    floor.source.document_number = "联防联控机制综发〔2022〕81号"
    await service.publish(floor, retroactive_reason="a test")
    await service.publish(make_policy("jurisdictions/410100/policies/other"))
    bad = make_policy(hours=0)
    bad.title = NUL
    bad.test_required.window.basis = policy_pb2.VALIDITY_BASIS_SAMPLE_TIME
    bad.effective_start_time.CopyFrom(to_timestamp(now - DAY))
    bad.effective_end_time.CopyFrom(to_timestamp(now - DAY - HOUR))
    for validate_only in (True, False):
        with refused() as caught:
            await service.publish(bad, validate_only=validate_only)
        assert field_violations(caught.value) == {
            "policy.title": "INVALID_FIELD",
            "policy.effective_end_time": "INVALID_FIELD",
            "policy.test_required.window.duration": "INVALID_FIELD",
            "policy.test_required.window.basis": "POLICY_BREACH",
            "policy.purposes": "AMBIGUOUS",
            "retroactive_reason": "RETROACTIVE",
        }
        text = str(rich_status(caught.value))
        assert "jurisdictions/000000/policies/notice@1" in text
        assert "jurisdictions/410100/policies/other@1" in text


@in_module
async def test_unknown_region_is_reported_with_the_other_faults(empty_service: Service) -> None:
    """A region that is none, and a start in the past without a reason."""
    policy = make_policy("jurisdictions/999999/policies/x")
    policy.effective_start_time.CopyFrom(to_timestamp(SystemClock().now() - DAY))
    with refused() as caught:
        await empty_service.publish(policy)
    assert field_violations(caught.value) == {"policy.name": "REGION_UNKNOWN", "retroactive_reason": "RETROACTIVE"}
    assert error_info(caught.value).reason == "REGION_UNKNOWN"


@in_module
async def test_both_unknown_regions_of_a_question_are_reported(empty_service: Service) -> None:
    """One answer reports both."""
    with refused() as caught:
        await empty_service.read.ResolvePolicy(
            ResolvePolicyRequest(region="999999", arriving_from="888888", purpose=HOTEL)
        )
    assert field_violations(caught.value) == {"region": "REGION_UNKNOWN", "arriving_from": "REGION_UNKNOWN"}


@pytest.mark.parametrize("seconds", [-(2**62), -1, 0, 2**62])
async def test_any_instant_can_be_asked_about(service: Service, seconds: int) -> None:
    """However far away: there is an answer, and the interval is its own."""
    await service.publish(make_policy())
    for field in ("effective_time", "as_of_time"):
        request = ResolvePolicyRequest(region="410105", purpose=HOTEL)
        getattr(request, field).seconds = seconds
        effective = (await service.read.ResolvePolicy(request)).effective_policy
        assert bool(effective.governing) == (seconds == 2**62)
    request = ListPoliciesRequest(jurisdiction="jurisdictions/410100")
    request.effective_time.seconds = seconds
    assert len((await service.read.ListPolicies(request)).policies) == (seconds == 2**62)


@in_module
@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.read.GetPolicy(GetPolicyRequest(name="jurisdictions/410100/policies/x\0")),
        lambda s: s.read.GetPolicy(GetPolicyRequest(name="jurisdictions/410100/policies/x@0")),
        lambda s: s.read.GetPolicy(GetPolicyRequest(name="jurisdictions/410100/policies/x@99999999999999999999")),
        lambda s: s.read.GetPolicy(GetPolicyRequest()),
        lambda s: s.read.ListPolicies(ListPoliciesRequest(jurisdiction="jurisdictions/\0")),
        lambda s: s.read.ListPolicies(ListPoliciesRequest(page_size=-1)),
        lambda s: s.read.ListPolicies(ListPoliciesRequest(page_token="\0")),
        lambda s: s.read.ListPolicyRevisions(ListPolicyRevisionsRequest(name="x")),
        lambda s: s.read.ResolvePolicy(ResolvePolicyRequest(region="41010\0", purpose=HOTEL)),
        lambda s: s.read.ResolvePolicy(ResolvePolicyRequest(region="410105", purpose=99)),
        lambda s: s.read.BatchResolvePolicies(BatchResolvePoliciesRequest()),
        lambda s: s.read.BatchResolvePolicies(BatchResolvePoliciesRequest(requests=[ResolvePolicyRequest()] * 501)),
        lambda s: s.admin.WithdrawPolicy(WithdrawPolicyRequest(name="jurisdictions/410100/policies/x@1")),
        lambda s: s.admin.WithdrawPolicy(WithdrawPolicyRequest(name="\0", reason="r")),
        lambda s: s.publish(make_policy(), request_id="not a uuid"),
    ],
)
async def test_nothing_faulty_is_a_fault_of_the_service(
    empty_service: Service, call: Callable[[Service], object]
) -> None:
    """Every RPC: INVALID_ARGUMENT with the field."""
    with refused() as caught:
        await call(empty_service)  # type: ignore[misc]
    assert field_violations(caught.value)


async def test_province_hears_of_the_breach_too(sqlite_url: MakeUrl, tmp_path: Path) -> None:
    """A national floor of a province's is NOT_PERMITTED, with what else speaks against it."""
    async with policy_at(sqlite_url("policy"), tmp_path, "410000") as henan:
        policy = make_policy("jurisdictions/000000/policies/notice", floor=True)
        policy.effective_start_time.CopyFrom(to_timestamp(SystemClock().now() - DAY))
        with refused(grpc.StatusCode.PERMISSION_DENIED) as caught:
            await henan.publish(policy)
        assert field_violations(caught.value) == {"policy.name": "NOT_PERMITTED", "retroactive_reason": "RETROACTIVE"}


async def test_the_largest_possible_policy_is_stored_completely(service: Service) -> None:
    """Every text at its limit, in characters of three bytes."""
    policy = make_policy()
    policy.title = "策" * 200
    policy.source.title = "源" * 300
    policy.source.document_number = "号" * 100
    policy.source.url = "https://example.org/" + "a" * 480
    policy.advice.extend(["劝" * 300] * 10)
    policy.effective_start_time.CopyFrom(to_timestamp(SystemClock().now() - DAY))
    name = (await service.publish(policy, retroactive_reason="因" * 500)).policy.name
    read = (await service.read.GetPolicy(GetPolicyRequest(name=name))).policy
    assert (read.title, read.source, read.advice) == (policy.title, policy.source, policy.advice)
    assert read.retroactive_reason == "因" * 500
