"""Emergency grants on SQLite and on PostgreSQL: the holder alone approves its own changes, while the grant is open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from google.protobuf.duration_pb2 import Duration
from hutong.approval.v1.approval_service_pb2 import (
    ListEmergencyGrantsRequest,
    ListPendingChangesRequest,
    OpenEmergencyGrantRequest,
)
from prometheus_client import REGISTRY

from services.approval.approvals import Decide, Made
from services.approval.grant_store import KEPT
from services.approval.model import EmergencyGrant, GrantState, PendingChange, State
from services.approval.servicer import ApprovalServicer
from services.domain.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from services.domain.instant import HOUR, MINUTE
from services.domain.names import format_emergency_grant, format_pending_change
from services.runtime.caller import LOCAL, Caller
from services.runtime.page_tokens import PageTokens
from tests.support.databases import MakeUrl
from tests.support.policy.withdrawals import A_REQUEST_ID, LI, METHOD, WANG, Withdrawals, act


@pytest.fixture
def withdrawals(database_url: MakeUrl) -> Iterator[Withdrawals]:
    opened = Withdrawals(database_url("policy"))
    yield opened
    opened.database.close()


async def open_grant(withdrawals: Withdrawals, caller: Caller = LI, request_id: str = "", **fields: str) -> str:
    """Open a grant of 30 minutes as a caller, and return its name."""
    act(caller)
    reason = fields.pop("reason", "nobody else is here")
    request = OpenEmergencyGrantRequest(
        reason=reason, open_duration=Duration(seconds=1800), request_id=request_id, **fields
    )
    return format_emergency_grant((await withdrawals.grants.open(request)).grant_id)


async def find(withdrawals: Withdrawals, name: str) -> EmergencyGrant:
    listed = await withdrawals.grants.list_for_caller("", include_reviewed=True, before="", limit=100)
    return next(grant for grant in listed if format_emergency_grant(grant.grant_id) == name)


async def test_the_proposer_approves_while_its_grant_is_open(withdrawals: Withdrawals) -> None:
    """The proposer can approve only while the grant is open. The change and the grant name each other."""
    change = await withdrawals.propose()
    with pytest.raises(PermissionDenied, match="another caller"):
        await withdrawals.approve(change, LI)
    name = await open_grant(withdrawals)
    done = await withdrawals.approve(change, LI)
    assert (done.state, done.decider, format_emergency_grant(done.grant_id or "")) == (State.APPROVED, LI.name, name)
    assert (await find(withdrawals, name)).approved_count == 1
    withdrawals.clock.advance(30 * MINUTE)
    with pytest.raises(PermissionDenied, match="another caller"):
        await withdrawals.approve(await withdrawals.propose(), LI)
    assert (await find(withdrawals, name)).state_at(withdrawals.clock.now()) is GrantState.ENDED


@pytest.mark.parametrize(
    ("holder", "region"),
    [(WANG, ""), (LI, "410000"), (replace(LI, role="supervisor"), "")],
    ids=["another's", "another region", "another role"],
)
async def test_a_grant_permits_nothing_else(withdrawals: Withdrawals, holder: Caller, region: str) -> None:
    change = await withdrawals.propose()
    try:
        await open_grant(withdrawals, holder, region=region)
    except PermissionDenied as error:
        assert error.reason == "NOT_PERMITTED"  # noqa: PT017
    with pytest.raises(PermissionDenied, match="another caller"):
        await withdrawals.approve(change, LI)


async def test_a_grant_that_ends_meanwhile_approves_nothing(withdrawals: Withdrawals) -> None:
    """Another process ends it after the approval has found it, and before the transaction of the approval."""
    name = await open_grant(withdrawals)
    change = await withdrawals.propose()
    other = Withdrawals(withdrawals.url)

    async def make(pending: PendingChange, approve: Decide) -> Made:
        await other.grants.end(name)
        await withdrawals.database.write(approve)
        raise AssertionError(pending)

    withdrawals.approvals.register(METHOD, make)
    with closing(other.database), pytest.raises(PermissionDenied, match="another caller"):
        await withdrawals.approve(change, LI)
    stands = await withdrawals.approvals.find(format_pending_change(change.change_id))
    assert (stands.state, stands.grant_id) == (State.PENDING, None)
    assert (await find(withdrawals, name)).approved_count == 0


async def test_what_was_approved_in_time_is_completed_later(withdrawals: Withdrawals) -> None:
    change = await withdrawals.propose()
    name = await open_grant(withdrawals)
    withdrawals.failures = 1
    with pytest.raises(Unavailable):
        await withdrawals.approve(change, LI)
    withdrawals.clock.advance(HOUR)
    assert (await withdrawals.approve(change, LI)).complete_time is not None
    assert (await find(withdrawals, name)).approved_count == 1


async def test_a_grant_is_reviewed_by_another_before_the_next(withdrawals: Withdrawals) -> None:
    """The holder may end it. Neither the holder nor the same person under another name reviews it."""
    person = replace(LI, person="4711")
    name = await open_grant(withdrawals, person)
    await withdrawals.grants.end(name)
    for same in (LI, replace(WANG, person="4711")):
        act(same)
        with pytest.raises(PermissionDenied, match="another caller"):
            await withdrawals.grants.review(name, "all is well")
        with pytest.raises(FailedPrecondition, match="first review"):
            await open_grant(withdrawals, replace(same, person="4711"))
    act(WANG)
    reviewed = await withdrawals.grants.review(name, "one withdrawal")
    assert (reviewed.reviewer, reviewed.review_note, reviewed.ender) == (WANG.name, "one withdrawal", LI.name)
    assert await withdrawals.grants.review(name, "again") == reviewed
    assert await open_grant(withdrawals, person) != name


async def test_a_review_ends_an_open_grant(withdrawals: Withdrawals) -> None:
    name = await open_grant(withdrawals)
    act(WANG)
    assert (await withdrawals.grants.review(name, "not needed")).ender == WANG.name
    with pytest.raises(PermissionDenied):
        await withdrawals.approve(await withdrawals.propose(), LI)


async def test_a_holder_opens_one_grant_at_a_time(withdrawals: Withdrawals) -> None:
    """Two requests meet. A repeated request id is one request."""
    answers = await asyncio.gather(*(open_grant(withdrawals) for _ in range(2)), return_exceptions=True)
    assert sum(isinstance(answer, FailedPrecondition) for answer in answers) == 1
    (name,) = (answer for answer in answers if isinstance(answer, str))
    act(WANG)
    await withdrawals.grants.review(name, "all is well")
    again = await open_grant(withdrawals, request_id=A_REQUEST_ID)
    assert await open_grant(withdrawals, request_id=A_REQUEST_ID) == again
    with pytest.raises(InvalidArgument, match="other content"):
        await open_grant(withdrawals, request_id=A_REQUEST_ID, reason="another")


async def test_grants_are_listed_counted_and_removed(withdrawals: Withdrawals) -> None:
    """Only reviewed grants are removed, with the next opening after three years."""
    first, second = await open_grant(withdrawals), await open_grant(withdrawals, WANG, region="410000")

    async def names(**fields: object) -> list[str]:
        wanted = {"region": "", "include_reviewed": False, "before": "", "limit": 10} | fields
        listed = await withdrawals.grants.list_for_caller(**wanted)  # type: ignore[arg-type]
        return [format_emergency_grant(grant.grant_id) for grant in listed]

    def counted(state: str) -> float | None:
        return REGISTRY.get_sample_value("hutong_emergency_grants", {"service": "policy", "state": state})

    assert await names() == [second, first]
    assert await names(region="410000") == [second]
    act(WANG)
    await withdrawals.grants.review(first, "all is well")
    await withdrawals.grants.count()
    assert (counted("open"), counted("unreviewed")) == (1, 0)
    assert await names() == [second]
    assert await names(include_reviewed=True) == [second, first]
    withdrawals.clock.advance(KEPT + 1)
    await withdrawals.grants.count()
    assert (counted("open"), counted("unreviewed")) == (0, 1)
    third = await open_grant(withdrawals)
    assert await names(include_reviewed=True) == [third, second]
    with pytest.raises(NotFound):
        await withdrawals.grants.owner_of(first)


async def test_a_region_must_exist(withdrawals: Withdrawals) -> None:
    """A list of a region that does not exist would look like one without entries."""
    with pytest.raises(InvalidArgument, match="region"):
        await open_grant(withdrawals, region="419900")
    servicer = ApprovalServicer(withdrawals.approvals, withdrawals.grants, PageTokens())
    with pytest.raises(InvalidArgument, match="region"):
        await servicer.ListPendingChanges(ListPendingChangesRequest(region="419900"), None)
    with pytest.raises(InvalidArgument, match="region"):
        await servicer.ListEmergencyGrants(ListEmergencyGrantsRequest(region="419900"), None)
    assert not (await servicer.ListEmergencyGrants(ListEmergencyGrantsRequest(region="410000"), None)).emergency_grants


async def test_local_callers_open_and_review_too(withdrawals: Withdrawals) -> None:
    """Local callers are not told apart, so none of them counts as the holder."""
    local = Caller(LOCAL, LOCAL)
    name = await open_grant(withdrawals, local)
    assert (await withdrawals.grants.review(name, "tried")).region == "000000"
