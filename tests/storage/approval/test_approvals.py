"""Pending changes on SQLite and on PostgreSQL: proposed once, approved by another, made once, lapsed in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest
from hutong.policy.v1.policy_admin_service_pb2 import WithdrawPolicyRequest
from prometheus_client import REGISTRY
from sqlalchemy import func, insert, select

from services.approval.approvals import MOST_OPEN, WAITING
from services.approval.model import Proposal, State
from services.approval.store import KEPT
from services.domain.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from services.domain.names import format_pending_change
from services.policy import tables
from services.runtime.call import current_call
from services.runtime.caller import LOCAL, Caller
from services.runtime.ids import uuid7
from tests.support.databases import MakeUrl
from tests.support.policy.withdrawals import A_REQUEST_ID, LI, LIFE, METHOD, NAME, WANG, Withdrawals, act
from tests.support.waiting import until


@pytest.fixture
def withdrawals(database_url: MakeUrl) -> Iterator[Withdrawals]:
    opened = Withdrawals(database_url("policy"))
    yield opened
    opened.database.close()


async def test_a_change_is_proposed_once_and_made_once(withdrawals: Withdrawals) -> None:
    """The actor is the proposer. Neither other content nor another caller may use the request id of the proposal."""
    change = await withdrawals.propose(A_REQUEST_ID)
    assert (await withdrawals.propose(A_REQUEST_ID)).change_id == change.change_id
    with pytest.raises(InvalidArgument, match="other content"):
        await withdrawals.propose(A_REQUEST_ID, reason="another")
    done = await withdrawals.approve(change)
    assert (done.state, done.decider) == (State.APPROVED, WANG.name)
    assert (done.changed_count, done.consistency_token) == (1, "token")
    assert await withdrawals.approve(change) == done
    assert withdrawals.made == [(NAME, LI.name)]
    request = WithdrawPolicyRequest(name=NAME, reason="a slip", request_id=A_REQUEST_ID)
    with pytest.raises(InvalidArgument, match="another caller"):
        await withdrawals.approvals.find_proposed(request)
    act(LI)
    assert await withdrawals.approvals.find_proposed(request) == done


async def test_an_approval_that_was_cut_off_is_repeated(withdrawals: Withdrawals) -> None:
    """Until the change was made as a whole it is not complete, and it can no longer be rejected."""
    change = await withdrawals.propose()
    withdrawals.failures = 1
    with pytest.raises(Unavailable):
        await withdrawals.approve(change)
    cut_off = await withdrawals.approvals.find(format_pending_change(change.change_id))
    assert (cut_off.state, cut_off.complete_time) == (State.APPROVED, None)
    with pytest.raises(FailedPrecondition, match="is approved"):
        await withdrawals.approvals.reject(format_pending_change(change.change_id), "late")
    withdrawals.clock.advance(LIFE)
    assert (await withdrawals.approve(change)).complete_time is not None
    assert withdrawals.made == [(NAME, LI.name)]


async def test_only_one_of_two_decisions_counts(withdrawals: Withdrawals) -> None:
    """An approval and a rejection that meet."""
    change = await withdrawals.propose()
    name = format_pending_change(change.change_id)
    act(WANG)
    answers = await asyncio.gather(
        withdrawals.approvals.approve(name), withdrawals.approvals.reject(name, "no"), return_exceptions=True
    )
    assert sum(isinstance(answer, FailedPrecondition) for answer in answers) == 1
    stands = await withdrawals.approvals.find(name)
    assert bool(withdrawals.made) is (stands.state == State.APPROVED)


@pytest.mark.parametrize(
    ("proposer", "approver", "is_other"),
    [
        (LI, LI, False),
        (LI, Caller("authority", LI.name, "000000", certificate_hash="another"), False),
        (LI, WANG, True),
        (LI, Caller("authority", "authorities/000000", "000000"), False),
        (Caller("authority", "authorities/000000", "000000"), LI, False),
        (Caller("authority", "authorities/000000/l", "000000"), LI, True),
        (
            Caller("authority", "authorities/000000/li", person="4711"),
            Caller("authority", "authorities/000000/wang", person="4711"),
            False,
        ),
        (
            Caller("authority", "authorities/000000/li", person="4711"),
            Caller("authority", "authorities/000000/wang", person="4712"),
            True,
        ),
    ],
)
async def test_the_proposer_does_not_approve(
    sqlite_url: MakeUrl, proposer: Caller, approver: Caller, is_other: bool
) -> None:
    opened = Withdrawals(sqlite_url("policy"))
    act(proposer)
    request = WithdrawPolicyRequest(name=NAME, reason="a slip")
    change = await opened.approvals.propose(request, Proposal(METHOD, "authority", "000000", NAME, request))
    if is_other:
        await opened.approve(change, approver)
    else:
        with pytest.raises(PermissionDenied, match="another caller"):
            await opened.approve(change, approver)
    assert bool(opened.made) is is_other
    opened.database.close()


async def test_a_change_lapses(withdrawals: Withdrawals) -> None:
    """The change can be approved in its last microsecond, and not later."""
    change, last = await withdrawals.propose(), await withdrawals.propose()
    withdrawals.clock.advance(LIFE - 1)
    await withdrawals.approve(last)
    assert await withdrawals.list() == [change.change_id]
    withdrawals.clock.advance(1)
    with pytest.raises(FailedPrecondition, match="has lapsed"):
        await withdrawals.approve(change)
    with pytest.raises(FailedPrecondition, match="has lapsed"):
        await withdrawals.approvals.reject(format_pending_change(change.change_id), "late")
    assert await withdrawals.list() == []
    assert await withdrawals.list(include_decided=True) == [last.change_id, change.change_id]


async def test_lists_are_narrowed(withdrawals: Withdrawals) -> None:
    """Lists can be narrowed by region and by laboratory. They have only the changes of the caller's role."""
    change = await withdrawals.propose()
    assert await withdrawals.list(region="000000") == [change.change_id]
    assert await withdrawals.list(region="410000") == []
    assert await withdrawals.list(lab="labs/91410100MA0000001X") == []
    act(Caller("supervisor", "supervisors/000000", "000000"))
    assert await withdrawals.list() == []


async def test_old_changes_are_removed(withdrawals: Withdrawals) -> None:
    """The next proposal removes changes that are older than KEPT."""
    change = await withdrawals.propose()
    withdrawals.clock.advance(KEPT + 1)
    await withdrawals.propose()
    count = select(func.count()).select_from(tables.pending_changes)
    assert await withdrawals.database.read(lambda connection: connection.execute(count).scalar()) == 1
    with pytest.raises(NotFound):
        await withdrawals.approvals.find(format_pending_change(change.change_id))


def test_local_callers_need_no_approval(sqlite_url: MakeUrl) -> None:
    """Work outside a call needs no approval either. Identified callers do."""
    opened = Withdrawals(sqlite_url("policy"))
    current_call.set(None)
    assert not opened.approvals.is_needed()
    act(Caller(LOCAL, LOCAL))
    assert not opened.approvals.is_needed()
    act(LI)
    assert opened.approvals.is_needed()
    opened.database.close()


async def test_changes_that_wait_are_counted_until_they_lapse(withdrawals: Withdrawals) -> None:
    """The metric has the count as soon as the job begins."""

    async def counted() -> float | None:
        job = asyncio.create_task(withdrawals.approvals.count())
        WAITING.labels("policy").set(-1)
        await until(lambda: REGISTRY.get_sample_value("hutong_pending_changes", {"service": "policy"}) != -1)
        job.cancel()
        return REGISTRY.get_sample_value("hutong_pending_changes", {"service": "policy"})

    approved = await withdrawals.propose()
    await withdrawals.propose()
    assert await counted() == 2
    await withdrawals.approve(approved)
    assert await counted() == 1
    withdrawals.clock.advance(LIFE)
    assert await counted() == 0


async def test_the_change_of_a_denied_proposer_is_rejected_only(withdrawals: Withdrawals) -> None:
    """An approval that was cut off is continued all the same, because another caller has approved the change."""
    change, begun = await withdrawals.propose(), await withdrawals.propose()
    withdrawals.failures = 1
    with pytest.raises(Unavailable):
        await withdrawals.approve(begun)
    act(WANG)
    call = current_call.get()
    assert call is not None
    call.is_denied = LI.name.__eq__
    with pytest.raises(FailedPrecondition, match="deny-list"):
        await withdrawals.approvals.approve(format_pending_change(change.change_id))
    done = await withdrawals.approvals.approve(format_pending_change(begun.change_id))
    assert done.complete_time is not None


async def test_one_proposer_has_a_limit_of_changes_that_wait(withdrawals: Withdrawals) -> None:
    """A repeated request id is none more, and a decided change makes room."""
    first = await withdrawals.propose(A_REQUEST_ID)
    copies = [replace(first, change_id=uuid7()) for _ in range(MOST_OPEN - 1)]
    await withdrawals.database.write(
        lambda it: it.execute(insert(tables.pending_changes), [asdict(copy) for copy in copies]) and None
    )
    assert (await withdrawals.propose(A_REQUEST_ID)).change_id == first.change_id
    with pytest.raises(ResourceExhausted, match="100 changes"):
        await withdrawals.propose()
    await withdrawals.approve(first)
    await withdrawals.propose()
