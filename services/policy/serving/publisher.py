"""Where publications and withdrawals are judged and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import (
    PolicyImpact,
    PublishPolicyRequest,
    PublishPolicyResponse,
    WithdrawPolicyRequest,
    WithdrawPolicyResponse,
)

from services.domain.errors import FailedPrecondition, InvalidArgument, NotFound, Violation
from services.domain.instant import Instant, from_timestamp
from services.domain.names import parse_policy
from services.policy.changes import Changes
from services.policy.convert import (
    answer_to_proto,
    bare_statement,
    content_hash,
    overrides_to_proto,
    revision_from_proto,
    revision_to_proto,
)
from services.policy.model import Revision
from services.policy.rules.guards import (
    Publication,
    check_jurisdiction,
    check_publication,
    check_withdrawal,
    find_overridden,
)
from services.policy.rules.impact import Change, find_changes
from services.policy.rules.resolve import PolicyBook
from services.policy.serving.book_cache import Shelf
from services.policy.store import Store, Verdict
from services.runtime.clock import Clock
from services.runtime.consistency import Freshness, encode_token
from services.runtime.server.validation import find_violations

R = TypeVar("R", PublishPolicyResponse, WithdrawPolicyResponse)

END = "policy.effective_end_time"
"""The field of the one rule that stands on the whole of a policy: its end is after its start."""
_NEEDED = {"policy.name", "policy.effective_start_time"}
NOT_HASHED = "none"
"""In the place of a content hash, of a policy that is refused anyway."""
MAX_TOLD = 500
"""Of what a publication changes or overrides so much is told: an impact has a kilobyte, and a message four million."""


class PublicationDesk:
    """Publishes for one node."""

    def __init__(self, store: Store, shelf: Shelf, jurisdiction: str, clock: Clock) -> None:
        self._store = store
        self._shelf = shelf
        self._jurisdiction = jurisdiction
        self._clock = clock

    async def publish(self, request: PublishPolicyRequest) -> PublishPolicyResponse:
        """Judge a policy and, unless it is only to be validated, publish it."""
        statement, broken_rules = _read(request)
        if request.validate_only:
            await self._shelf.refresh()
            nothing = Changes(self._shelf.sequence, ())
            # In a thread: what a national rule changes takes a while to find, and questions go on meanwhile.
            return await asyncio.to_thread(
                lambda: self._judge(request, statement, broken_rules, nothing, self._clock.now()).answer()
            )
        response = await self._store.publish(
            request,
            self._shelf.sequence,
            lambda changes, now: self._judge(request, statement, broken_rules, changes, now),
            self._clock.now(),
        )
        await self._shelf.refresh()
        return self._with_token(response)

    async def withdraw(self, request: WithdrawPolicyRequest) -> WithdrawPolicyResponse:
        """Withdraw one revision from now on."""
        region, policy_id, number = parse_policy(request.name)
        if number is None:
            raise InvalidArgument.field("name", "must name the revision to withdraw: …@{revision}", "MALFORMED_NAME")
        check_jurisdiction(region, self._jurisdiction)
        now = self._clock.now()

        def judge(changes: Changes) -> Revision:
            book = self._shelf.with_changes(changes)
            members = book.series(region, policy_id)
            found = next((revision for revision in members if revision.revision == number), None)
            if found is None:
                raise NotFound.resource(request.name)
            if found.withdraw_time is not None:
                raise FailedPrecondition(
                    "ALREADY_WITHDRAWN", f"{request.name} is withdrawn already", metadata={"resource": request.name}
                )
            check_withdrawal(found, book)
            return found

        def answer(revision: Revision) -> WithdrawPolicyResponse:
            return WithdrawPolicyResponse(policy=revision_to_proto(revision))

        response = await self._store.withdraw(request, self._shelf.sequence, judge, answer, now)
        await self._shelf.refresh()
        return self._with_token(response)

    def _judge(
        self,
        request: PublishPolicyRequest,
        statement: policy_pb2.Policy,
        broken_rules: Sequence[Violation],
        changes: Changes,
        now: Instant,
    ) -> Verdict:
        book = self._shelf.with_changes(changes)
        region, policy_id, _ = parse_policy(statement.name, "policy.name")
        members = book.series(region, policy_id)
        # What breaks a rule has no hash worth the name: JSON cannot say every time that a message can.
        hashed = "" if broken_rules else content_hash(statement)
        number = members[-1].revision + 1 if members else 1
        revision = revision_from_proto(statement, number, now, request.retroactive_reason, hashed or NOT_HASHED)
        standing = [member for member in members if member.withdraw_time is None and member.start == revision.start]
        if standing and standing[-1].content_hash == revision.content_hash:
            told = standing[-1]
            return Verdict(told, None, lambda: self._answer(request, told, book, book))
        check_publication(Publication(revision, self._jurisdiction, now), book, broken_rules)
        after = book.with_revisions([revision])
        return Verdict(revision, statement, lambda: self._answer(request, revision, book, after))

    def _answer(
        self,
        request: PublishPolicyRequest,
        revision: Revision,
        before: PolicyBook,
        after: PolicyBook,
    ) -> PublishPolicyResponse:
        response = PublishPolicyResponse(policy=revision_to_proto(revision))
        if revision.floor and before is not after:
            overridden = find_overridden(revision, before)
            response.override_count = len(overridden)
            response.overrides.extend(overrides_to_proto(overridden[:MAX_TOLD]))
        if request.HasField("impact_time"):
            at = from_timestamp(request.impact_time)
            changes = list(find_changes(revision, before, after, at))
            response.impact_count = len(changes)
            response.impacts.extend(_impact(change, before, after, at) for change in changes[:MAX_TOLD])
        return response

    def _with_token(self, response: R) -> R:
        """The answer with a token of the shelf's instant: after the commit, and told with it to every watcher."""
        response.consistency_token = encode_token(Freshness("policy", self._jurisdiction, self._shelf.as_of))
        return response


def _read(request: PublishPolicyRequest) -> tuple[policy_pb2.Policy, list[Violation]]:
    """The statement, and the rules of the contract that it breaks.

    Raises:
        InvalidArgument: it breaks rules, and is too faulty for anything else to be said of it: no series, no times.
    """
    if not request.HasField("policy"):
        raise InvalidArgument.field("policy", "value is required")
    broken_rules = [
        replace(violation, field=f"policy.{violation.field}" if violation.field else END)
        for violation in find_violations(request.policy)
    ]
    broken_rules += _find_fractions(request.policy)
    if _NEEDED & {violation.field for violation in broken_rules}:
        raise InvalidArgument.of(broken_rules)
    return bare_statement(request.policy), broken_rules


def _find_fractions(policy: policy_pb2.Policy) -> list[Violation]:
    """Times and spans whose fraction of a second is none: protobuf carries them, and JSON cannot say them."""
    asked = policy.test_required
    fractions = {
        "effective_start_time": policy.effective_start_time.nanos,
        "effective_end_time": policy.effective_end_time.nanos,
        "test_required.window.duration": asked.window.duration.nanos,
        "test_required.sampling_proof_window": asked.sampling_proof_window.nanos,
    }
    return [
        Violation(f"policy.{field}", "INVALID_FIELD", "nanos must lie between 0 and 999,999,999")
        for field, nanos in fractions.items()
        if not 0 <= nanos < 1_000_000_000
    ]


def _impact(change: Change, before: PolicyBook, after: PolicyBook, at: Instant) -> PolicyImpact:
    question = (change.region, change.purpose, change.origin, at)
    return PolicyImpact(
        region=change.region,
        purpose=change.purpose,  # type: ignore[arg-type]
        origin=change.origin,  # type: ignore[arg-type]
        before=answer_to_proto(before.resolve_class(*question)),
        after=answer_to_proto(after.resolve_class(*question)),
    )
