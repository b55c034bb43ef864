"""The Policy service through real servers, on both engines."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from pathlib import Path

import grpc
import pytest
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import WithdrawPolicyRequest
from hutong.policy.v1.policy_service_pb2 import (
    BatchResolvePoliciesRequest,
    GetPolicyRequest,
    ListPoliciesRequest,
    ListPolicyRevisionsRequest,
    ResolvePolicyRequest,
)

from services.domain.instant import DAY, SECOND, from_timestamp, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.databases import MakeUrl, PostgresServer
from tests.support.errors import error_info, field_violations, rich_status
from tests.support.lists import read_pages
from tests.support.policy.service import ANTIGEN, HOTEL, Service, make_policy, policy_at
from tests.support.waiting import until

PREFECTURES = [f"{province}{prefecture:02}00" for province in ("41", "37") for prefecture in range(1, 14)]
"""Twenty-six cities of Henan and Shandong."""


async def test_publication_governs_at_once(service: Service) -> None:
    """Before the publication nothing is in force.

    After its acknowledgement the rule governs the city and its district.
    """
    assert await service.governing() == ""
    response = await service.publish(make_policy())
    assert response.policy.name == "jurisdictions/410100/policies/hotel@1"
    assert await service.governing() == response.policy.name
    assert await service.governing("410200") == ""


async def test_same_content_again_is_the_same_revision(service: Service) -> None:
    """Applying a file twice changes nothing; another content is the next revision."""
    policy = make_policy()
    first, again = await service.publish(policy), await service.publish(policy)
    assert again.policy == first.policy
    policy.title = "another"
    assert (await service.publish(policy)).policy.revision == 2


async def test_earlier_content_again_is_its_own_revision(service: Service) -> None:
    """Content that is published already gets the name of its revision, not a new one.

    Such a publication happens if a directory is applied twice at the same time. A withdrawn or replaced policy is
    published anew.
    """
    first, second = make_policy(), make_policy(hours=24)
    second.effective_start_time.CopyFrom(to_timestamp(SystemClock().now() + DAY))
    names = [(await service.publish(policy)).policy.name for policy in (first, second, first, second)]
    assert names == [f"{first.name}@{number}" for number in (1, 2, 1, 2)]
    replaced = make_policy(hours=72, effective_start_time=first.effective_start_time)
    assert (await service.publish(replaced)).policy.revision == 3
    assert (await service.publish(first)).policy.revision == 4
    await service.admin.WithdrawPolicy(WithdrawPolicyRequest(name=f"{first.name}@4", reason="an error"))
    assert (await service.publish(first)).policy.revision == 5


async def test_request_id_answers_once(service: Service) -> None:
    """The same id with the same content is the first answer; with other content it is refused."""
    policy, request_id = make_policy(), str(uuid.uuid4())
    first = await service.publish(policy, request_id=request_id)
    assert (await service.publish(policy, request_id=request_id)).policy == first.policy
    policy.title = "another"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.publish(policy, request_id=request_id)
    assert error_info(caught.value).reason == "REQUEST_ID_REUSED"


async def test_validate_only_answers_the_same_and_stores_nothing(service: Service) -> None:
    """Good and bad publications are checked as real ones are."""
    response = await service.publish(make_policy(), validate_only=True)
    assert response.policy.revision == 1
    assert response.consistency_token == ""
    assert await service.governing() == ""
    await service.publish(make_policy("jurisdictions/410100/policies/other"))
    refusals = []
    for validate_only in (True, False):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.publish(make_policy(), validate_only=validate_only)
        refusals.append((caught.value.code(), caught.value.details().partition(" from ")[0]))  # type: ignore[union-attr]
    assert refusals[0] == refusals[1]
    assert error_info(caught.value).reason == "AMBIGUOUS"


async def test_withdrawal_is_a_fact_with_a_time(service: Service) -> None:
    """No policy governs after the withdrawal. The revision can still be read by name, and by what was known before."""
    published = (await service.publish(make_policy())).policy
    response = await service.admin.WithdrawPolicy(WithdrawPolicyRequest(name=published.name, reason="an error"))
    assert response.policy.withdraw_reason == "an error"
    assert await service.governing() == ""
    read = await service.read.GetPolicy(GetPolicyRequest(name=published.name))
    assert read.policy == response.policy
    at, withdrawn = from_timestamp(published.publish_time), from_timestamp(response.policy.withdraw_time)
    assert await service.governing(as_of_time=to_timestamp(withdrawn - 1)) == published.name
    assert await service.governing(as_of_time=to_timestamp(at - SECOND)) == ""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.admin.WithdrawPolicy(WithdrawPolicyRequest(name=published.name, reason="again"))
    assert error_info(caught.value).reason == "ALREADY_WITHDRAWN"


async def test_floor_tells_what_it_overrides_and_then_binds(service: Service) -> None:
    """A floor is published over an existing contradiction and lists it.

    The next contradiction is refused, citing the floor.
    """
    lower = make_policy()
    lower.test_required.window.basis = policy_pb2.VALIDITY_BASIS_SAMPLE_TIME
    await service.publish(lower)
    floor = make_policy("jurisdictions/000000/policies/notice", floor=True, forbidden_grounds=[1, 2])
    response = await service.publish(floor)
    assert [override.policy for override in response.overrides] == ["jurisdictions/410100/policies/hotel@1"]
    effective = (
        await service.read.ResolvePolicy(ResolvePolicyRequest(region="410105", purpose=HOTEL))
    ).effective_policy
    assert effective.test_required.window.basis == policy_pb2.VALIDITY_BASIS_REPORT_TIME
    assert [override.basis.applied for override in effective.overrides] == [policy_pb2.VALIDITY_BASIS_REPORT_TIME]
    lower.name = "jurisdictions/370000/policies/hotel"
    lower.effective_start_time.CopyFrom(to_timestamp(SystemClock().now()))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.publish(lower)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(caught.value).reason == "POLICY_BREACH"
    assert "jurisdictions/000000/policies/notice@1" in str(rich_status(caught.value))


async def test_accepted_items_reach_the_gate_with_what_floors_replaced(service: Service) -> None:
    """Each with its window; a floor that stands refuses the next policy and names the item."""
    lower = make_policy()
    lower.test_required.accepted.add()
    antigen = lower.test_required.accepted.add(item=ANTIGEN).window
    antigen.duration.seconds = 86_400
    antigen.basis = policy_pb2.VALIDITY_BASIS_SAMPLE_TIME
    await service.publish(lower)
    response = await service.publish(make_policy("jurisdictions/000000/policies/notice", floor=True))
    assert [(it.policy, it.basis.item) for it in response.overrides] == [(f"{lower.name}@1", ANTIGEN)]
    request = ResolvePolicyRequest(region="410105", purpose=HOTEL)
    effective = (await service.read.ResolvePolicy(request)).effective_policy
    assert [(it.basis.item, it.basis.stated) for it in effective.overrides] == [(ANTIGEN, antigen.basis)]
    antigen.basis = policy_pb2.VALIDITY_BASIS_REPORT_TIME
    assert effective.test_required == lower.test_required
    antigen.basis = policy_pb2.VALIDITY_BASIS_SAMPLE_TIME
    lower.name = "jurisdictions/370000/policies/hotel"
    lower.effective_start_time.CopyFrom(to_timestamp(SystemClock().now()))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.publish(lower)
    assert error_info(caught.value).reason == "POLICY_BREACH"
    assert f"validity of {ANTIGEN} counts from the report's issue" in (caught.value.details() or "")


async def test_all_faults_of_items_are_told_at_once(service: Service) -> None:
    """An item twice, by whichever of its names; a malformed name; an impossible fraction of a second."""
    policy = make_policy()
    asked = policy.test_required
    for item in ("", "items/sars-cov-2-nucleic-acid", "items/Antigen"):
        asked.accepted.add(item=item)
    asked.accepted[0].window.CopyFrom(asked.window)
    asked.accepted[0].window.duration.nanos = -1
    asked.adverse_items.extend([ANTIGEN, ANTIGEN])
    asked.adverse_window.seconds = -1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.publish(policy)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert sorted(field_violations(caught.value)) == [
        "policy.test_required.accepted",
        "policy.test_required.accepted[0].window.duration",
        "policy.test_required.accepted[2].item",
        "policy.test_required.adverse_items",
        "policy.test_required.adverse_window",
    ]


async def test_withdrawal_of_a_lift_tells_what_comes_back(service: Service) -> None:
    """With validate_only the answer is the same and nothing is stored.

    The lift itself binds also where nothing governs.
    """
    await service.publish(make_policy())
    lift = make_policy("jurisdictions/000000/policies/lift", floor=True)
    lift.not_required.SetInParent()
    published = await service.publish(lift)
    assert [it.lift.stated.window.duration.seconds for it in published.overrides] == [48 * 3600]
    asked = ResolvePolicyRequest(region="460200", purpose=HOTEL)
    effective = (await service.read.ResolvePolicy(asked)).effective_policy
    assert effective.HasField("not_required")
    assert (effective.governing, effective.lifting_floor) == ("", published.policy.name)
    request = WithdrawPolicyRequest(name=published.policy.name, reason="over", validate_only=True)
    request.impact_time.CopyFrom(to_timestamp(SystemClock().now()))
    trial = await service.admin.WithdrawPolicy(request)
    assert not trial.consistency_token
    assert (await service.read.GetPolicy(GetPolicyRequest(name=published.policy.name))).policy == published.policy
    request.validate_only = False
    response = await service.admin.WithdrawPolicy(request)
    assert response.consistency_token
    for answer in (trial, response):
        assert answer.policy.withdraw_reason == "over"
        assert [(it.policy, it.WhichOneof("replaced")) for it in answer.restored] == [
            ("jurisdictions/410100/policies/hotel@1", "lift")
        ]
        changed = {(it.region, it.before.lifting_floor, it.after.lifting_floor) for it in answer.impacts}
        assert changed == {(region, published.policy.name, "") for region in ("000000", "410100")}
        assert answer.impact_count == 4
    assert (await service.read.ResolvePolicy(asked)).effective_policy.WhichOneof("requirement") is None


async def test_impacts_tell_which_answers_change(service: Service) -> None:
    """The answers are those for the place and the regions below it, at the stated instant."""
    await service.publish(make_policy())
    now = to_timestamp(SystemClock().now() + DAY)
    response = await service.publish(make_policy(hours=24), validate_only=True, impact_time=now)
    assert {(impact.region, impact.purpose) for impact in response.impacts} == {("410100", HOTEL)}
    hours = {
        (i.before.test_required.window.duration.seconds, i.after.test_required.window.duration.seconds)
        for i in response.impacts
    }
    assert hours == {(48 * 3600, 24 * 3600)}


async def test_impact_tells_before_and_after_for_each_origin(service: Service) -> None:
    """A rule for people from other provinces leaves those of the province alone; nothing is stored by asking."""
    await service.publish(make_policy())
    outside = policy_pb2.TRAVELER_ORIGIN_OTHER_PROVINCE
    stricter = make_policy("jurisdictions/410100/policies/hotel-outside", hours=24, origin=outside)
    later = to_timestamp(SystemClock().now() + DAY)
    response = await service.publish(stricter, validate_only=True, impact_time=later)
    (impact,) = response.impacts
    assert response.impact_count == 1
    assert impact.origin == outside
    assert impact.before.governing.endswith("/hotel@1")
    assert impact.after.governing.endswith("/hotel-outside@1")
    earlier = to_timestamp(from_timestamp(stricter.effective_start_time) - DAY)
    assert not (await service.publish(stricter, validate_only=True, impact_time=earlier)).impacts
    assert (await service.governing(arriving_from="220500")).endswith("/hotel@1")


async def test_wide_rule_is_published_whatever_it_changes(sqlite_url: MakeUrl, tmp_path: Path) -> None:
    """All impacts and overrides are counted, and the first 500 are listed."""
    async with policy_at(sqlite_url("policy"), tmp_path) as service:
        places = [f"jurisdictions/{region}/policies/venue" for region in PREFECTURES]
        for place in places:
            lower = make_policy(place)
            lower.test_required.window.basis = policy_pb2.VALIDITY_BASIS_SAMPLE_TIME
            lower.purposes[:] = []
            await service.publish(lower)
        floor = make_policy("jurisdictions/000000/policies/notice", floor=True, forbidden_grounds=[1])
        floor.purposes[:] = []
        later = to_timestamp(SystemClock().now() + DAY)
        response = await service.publish(floor, impact_time=later)
        assert response.impact_count == (len(places) + 1) * 12 * 2
        assert len(response.impacts) == 500
        assert response.override_count == len(response.overrides) == len(places)
        first = response.impacts[-1]
        assert first.before.test_required.window.basis == policy_pb2.VALIDITY_BASIS_SAMPLE_TIME
        assert first.after.test_required.window.basis == policy_pb2.VALIDITY_BASIS_REPORT_TIME
        assert list(first.after.forbidden_grounds) == [1]


async def test_list_of_all_places_pages_in_order(sqlite_url: MakeUrl, tmp_path: Path) -> None:
    """Every policy of every place once, however the pages fall."""
    async with policy_at(sqlite_url("policy"), tmp_path) as service:
        names = [f"jurisdictions/{region}/policies/{kind}" for region in PREFECTURES[:4] for kind in ("a", "b")]
        for name in reversed(names):
            policy = make_policy(name)
            policy.purposes[:] = [1 if name.endswith("a") else 2]  # type: ignore[list-item]
            await service.publish(policy)
        for size in (1, 3, 8, 50):
            pages = await read_pages(service.read.ListPolicies, ListPoliciesRequest(page_size=size))
            assert [policy.name.split("@")[0] for page in pages for policy in page.policies] == names


async def test_lists_page_through_everything(service: Service) -> None:
    """Policies by name, revisions newest first, each once; a token serves only its own request."""
    names = [f"jurisdictions/410100/policies/p{number}" for number in range(5)]
    for purpose, name in enumerate(names, start=1):
        policy = make_policy(name)
        policy.purposes[:] = [purpose]  # type: ignore[list-item]
        for title in ("one", "two"):
            policy.title = title
            await service.publish(policy)
    request = ListPoliciesRequest(jurisdiction="jurisdictions/410100", page_size=2)
    pages = await read_pages(service.read.ListPolicies, request)
    assert [policy.name for page in pages for policy in page.policies] == [f"{name}@2" for name in names]
    page = await service.read.ListPolicyRevisions(ListPolicyRevisionsRequest(name=names[0], page_size=1))
    rest = await service.read.ListPolicyRevisions(
        ListPolicyRevisionsRequest(name=names[0], page_token=page.next_page_token)
    )
    assert [policy.revision for policy in (*page.policies, *rest.policies)] == [2, 1]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.read.ListPolicyRevisions(
            ListPolicyRevisionsRequest(name=names[1], page_token=page.next_page_token)
        )
    assert error_info(caught.value).reason == "INVALID_PAGE_TOKEN"


async def test_batch_pairs_answers_and_errors(service: Service) -> None:
    """One faulty question affects no other question of the batch."""
    await service.publish(make_policy())
    good = ResolvePolicyRequest(region="410105", purpose=HOTEL)
    bad = [ResolvePolicyRequest(region="41"), ResolvePolicyRequest(region="999999", purpose=HOTEL)]
    response = await service.read.BatchResolvePolicies(BatchResolvePoliciesRequest(requests=[good, *bad, good]))
    kinds = [item.WhichOneof("item") for item in response.items]
    assert kinds == ["effective_policy", "error", "error", "effective_policy"]
    assert response.items[0].effective_policy.governing == response.items[3].effective_policy.governing != ""


async def test_unknown_origin_gets_both_policies_alone_and_in_a_batch(service: Service) -> None:
    """If the policies differ by origin, both are returned with their documents; otherwise the one that applies."""
    await service.publish(make_policy())
    outside = policy_pb2.TRAVELER_ORIGIN_OTHER_PROVINCE
    stricter = make_policy("jurisdictions/410100/policies/hotel-outside", hours=24, origin=outside)
    stricter.source.document_number = "example"
    await service.publish(stricter)
    for origin in ("", "000000"):
        question = ResolvePolicyRequest(region="410105", purpose=HOTEL, arriving_from=origin)
        alone = await service.read.ResolvePolicy(question)
        assert alone.WhichOneof("policy") == "by_origin"
        told = alone.by_origin
        assert told.same_province.governing.endswith("/hotel@1")
        assert told.other_province.governing.endswith("/hotel-outside@1")
        assert told.other_province.governing_source.document_number == "example"
        assert told.same_province.HasField("as_of_time")
        batch = await service.read.BatchResolvePolicies(BatchResolvePoliciesRequest(requests=[question]))
        assert batch.items[0].by_origin.other_province.governing == told.other_province.governing
    same = ResolvePolicyRequest(region="410105", purpose=HOTEL, arriving_from="410105")
    assert (await service.read.ResolvePolicy(same)).effective_policy.governing.endswith("/hotel@1")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("call", "reason", "field"),
    [
        (lambda s: s.read.GetPolicy(GetPolicyRequest(name="policies/x")), "MALFORMED_NAME", "name"),
        (lambda s: s.read.GetPolicy(GetPolicyRequest(name="jurisdictions/410100/policies/none")), "NOT_FOUND", ""),
        (lambda s: s.read.ListPolicies(ListPoliciesRequest(jurisdiction="x")), "MALFORMED_NAME", "jurisdiction"),
        (
            lambda s: s.read.ResolvePolicy(ResolvePolicyRequest(region="999999", purpose=HOTEL)),
            "REGION_UNKNOWN",
            "region",
        ),
        (lambda s: s.read.ResolvePolicy(ResolvePolicyRequest(region="410105")), "INVALID_FIELD", "purpose"),
        (lambda s: s.publish(make_policy("jurisdictions/999999/policies/x")), "REGION_UNKNOWN", "policy.name"),
        (lambda s: s.publish(make_policy(hours=0)), "INVALID_FIELD", "policy.test_required.window.duration"),
        (
            lambda s: s.admin.WithdrawPolicy(WithdrawPolicyRequest(name="jurisdictions/410100/policies/x", reason="r")),
            "MALFORMED_NAME",
            "name",
        ),
        (
            lambda s: s.admin.WithdrawPolicy(
                WithdrawPolicyRequest(name="jurisdictions/410100/policies/x@9", reason="r")
            ),
            "NOT_FOUND",
            "",
        ),
    ],
)
async def test_faults_name_field_and_reason(empty_service: Service, call: object, reason: str, field: str) -> None:
    """Each fault has its documented reason, and its field where one is at fault."""
    assert callable(call)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(empty_service)
    assert error_info(caught.value).reason == reason
    assert not field or field in field_violations(caught.value)


async def test_ties_published_at_the_same_instant_cannot_both_succeed(database_url: MakeUrl, tmp_path: Path) -> None:
    """Two servers on one database: of each pair exactly one is let through."""
    url = database_url("policy")
    async with policy_at(url, tmp_path) as one, policy_at(url, tmp_path) as other:
        for round_ in range(5):
            region = f"jurisdictions/4101{round_ + 1:02}/policies"
            results = await asyncio.gather(
                one.publish(make_policy(f"{region}/a")),
                other.publish(make_policy(f"{region}/b")),
                return_exceptions=True,
            )
            refusals = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
            assert len(refusals) == 1
            assert error_info(refusals[0]).reason == "AMBIGUOUS"


async def test_servers_on_one_database_see_one_another_within_a_second(database_url: MakeUrl, tmp_path: Path) -> None:
    """A publication at one governs at the other."""
    url = database_url("policy")
    async with policy_at(url, tmp_path) as one, policy_at(url, tmp_path) as other:
        await one.publish(make_policy())

        async def governs() -> bool:
            return await other.governing() != ""

        await until(governs)


async def test_province_publishes_for_itself_alone(sqlite_url: MakeUrl, tmp_path: Path) -> None:
    """A node of Henan may not speak for Shandong or the nation."""
    async with policy_at(sqlite_url("policy"), tmp_path, "410000") as henan:
        await henan.publish(make_policy())
        for region in ("370000", "000000"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await henan.publish(make_policy(f"jurisdictions/{region}/policies/hotel"))
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
            assert error_info(caught.value).reason == "NOT_PERMITTED"


async def test_answers_go_on_while_the_database_is_unavailable(tmp_path: Path, own_server: PostgresServer) -> None:
    """Questions are answered from memory with an as_of_time that stands still; publications wait and then succeed."""
    async with policy_at(own_server.make("policy"), tmp_path) as service:
        await service.publish(make_policy())
        own_server.halt()
        request = ResolvePolicyRequest(region="410105", purpose=HOTEL)
        before = (await service.read.ResolvePolicy(request)).effective_policy
        assert before.governing != ""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.publish(make_policy(hours=24))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert error_info(caught.value).reason == "DATABASE_UNAVAILABLE"
        after = (await service.read.ResolvePolicy(request)).effective_policy
        assert from_timestamp(after.as_of_time) - from_timestamp(before.as_of_time) < SECOND
        own_server.resume()

        async def is_published() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await service.publish(make_policy(hours=24))
                return True
            return False

        await until(is_published)
        assert (await service.governing()).endswith("@2")
