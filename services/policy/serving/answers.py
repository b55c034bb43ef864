"""Answers to publications and withdrawals. An answer has the revision, and what it changes in the book."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from hutong.policy.v1.policy_admin_service_pb2 import (
    PolicyImpact,
    PublishPolicyRequest,
    PublishPolicyResponse,
    WithdrawPolicyRequest,
    WithdrawPolicyResponse,
)

from services.domain.instant import Instant, from_timestamp
from services.policy.convert import answer_to_proto, overrides_to_proto, revision_to_proto
from services.policy.model import FloorOverride, Revision
from services.policy.rules.guards import find_overridden
from services.policy.rules.impact import Change, find_changes
from services.policy.rules.resolve import PolicyBook
from services.policy.rules.restored import find_restored

R = TypeVar("R", PublishPolicyResponse, WithdrawPolicyResponse)

MAX_LISTED = 500
"""The most impacts, and the most overrides, in an answer. An impact takes about a kilobyte, and a message may have four
megabytes."""


class Checked(NamedTuple):
    """The revision in the answer to a publication, and whether it is new. If not, it was published before."""

    revision: Revision
    is_new: bool


def publication_answer(
    request: PublishPolicyRequest, checked: Checked, book: PolicyBook, *, with_actors: bool = False
) -> PublishPolicyResponse:
    """Return the answer to a publication: the revision, and what it changes in the book."""
    revision = checked.revision
    response = PublishPolicyResponse(policy=revision_to_proto(revision, with_actors=with_actors))
    after = book.with_revisions([revision]) if checked.is_new else book
    if checked.is_new:
        overridden = find_overridden(revision, book)
        response.override_count = len(overridden)
        response.overrides.extend(overrides_to_proto(overridden[:MAX_LISTED]))
        _put_restored(response, find_restored(revision, book, after))
    _put_impacts(request, response, revision, book, after)
    return response


def withdrawal_answer(
    request: WithdrawPolicyRequest,
    withdrawn: Revision,
    book: PolicyBook,
    now: Instant,
    *,
    with_actors: bool = False,
) -> WithdrawPolicyResponse:
    """Return the answer to a withdrawal: the revision, and what it changes in the book."""
    response = WithdrawPolicyResponse(policy=revision_to_proto(withdrawn, with_actors=with_actors))
    after = book.with_revisions([withdrawn])
    _put_restored(response, find_restored(withdrawn, book, after, now))
    _put_impacts(request, response, withdrawn, book, after)
    return response


def _put_restored(response: R, restored: Sequence[FloorOverride]) -> None:
    response.restored_count = len(restored)
    response.restored.extend(overrides_to_proto(restored[:MAX_LISTED]))


def _put_impacts(
    request: PublishPolicyRequest | WithdrawPolicyRequest,
    response: R,
    revision: Revision,
    before: PolicyBook,
    after: PolicyBook,
) -> None:
    """Add the answers that change at the request's impact time, if the request has one."""
    if request.HasField("impact_time"):
        at = from_timestamp(request.impact_time)
        changes = list(find_changes(revision, before, after, at))
        response.impact_count = len(changes)
        response.impacts.extend(_impact(change, before, after, at) for change in changes[:MAX_LISTED])


def _impact(change: Change, before: PolicyBook, after: PolicyBook, at: Instant) -> PolicyImpact:
    question = (change.region, change.purpose, change.origin, at)
    return PolicyImpact(
        region=change.region,
        purpose=change.purpose,  # type: ignore[arg-type]
        origin=change.origin,  # type: ignore[arg-type]
        before=answer_to_proto(before.resolve_class(*question)),
        after=answer_to_proto(after.resolve_class(*question)),
    )
