"""Where publications and withdrawals are judged and answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import (
    PolicyImpact,
    PublishPolicyRequest,
    PublishPolicyResponse,
    WithdrawPolicyRequest,
    WithdrawPolicyResponse,
)
from hutong.type.v1 import purpose_pb2

from services.domain.errors import FailedPrecondition, InvalidArgument, NotFound
from services.domain.instant import Instant, from_timestamp
from services.domain.names import parse_policy
from services.domain.region import within
from services.policy.convert import (
    answer_to_proto,
    bare_statement,
    content_hash,
    overrides_to_proto,
    revision_from_proto,
    revision_to_proto,
)
from services.policy.model import OTHER_PROVINCE, SAME_PROVINCE, Revision
from services.policy.publish import Publication, check_publication, check_withdrawal, find_overridden
from services.policy.resolve import PolicyBook
from services.policy.shelf import Shelf
from services.policy.store import Changes, Store, Verdict
from services.runtime.clock import Clock
from services.runtime.freshness import Freshness, encode_token

R = TypeVar("R", PublishPolicyResponse, WithdrawPolicyResponse)

MAX_IMPACTS = 500
_PURPOSES = [number for number in purpose_pb2.Purpose.values() if number]


class PublicationDesk:
    """Publishes for one node."""

    def __init__(self, store: Store, shelf: Shelf, jurisdiction: str, clock: Clock) -> None:
        self._store = store
        self._shelf = shelf
        self._jurisdiction = jurisdiction
        self._clock = clock

    async def publish(self, request: PublishPolicyRequest) -> PublishPolicyResponse:
        """Judge a policy and, unless it is only to be validated, publish it."""
        statement = bare_statement(request.policy)
        if request.validate_only:
            await self._shelf.refresh()
            nothing = Changes(self._shelf.sequence, ())
            return self._judge(request, statement, nothing, self._clock.now()).answer()
        response = await self._store.publish(
            request,
            self._shelf.sequence,
            lambda changes, now: self._judge(request, statement, changes, now),
            self._clock.now(),
        )
        await self._shelf.refresh()
        return self._with_token(response)

    async def withdraw(self, request: WithdrawPolicyRequest) -> WithdrawPolicyResponse:
        """Withdraw one revision from now on."""
        region, policy_id, number = parse_policy(request.name)
        if number is None:
            raise InvalidArgument.field("name", "must name the revision to withdraw: …@{revision}", "MALFORMED_NAME")
        now = self._clock.now()

        def judge(changes: Changes) -> Revision:
            book = self._shelf.with_changes(changes)
            members = book.series.get((region, policy_id), ())
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
        self, request: PublishPolicyRequest, statement: policy_pb2.Policy, changes: Changes, now: Instant
    ) -> Verdict:
        book = self._shelf.with_changes(changes)
        region, policy_id, _ = parse_policy(statement.name, "policy.name")
        members = sorted(book.series.get((region, policy_id), ()), key=lambda revision: revision.revision)
        newest = members[-1] if members else None
        if newest is not None and newest.withdraw_time is None and newest.content_hash == content_hash(statement):
            told = newest
            return Verdict(told, None, lambda: self._answer(request, told, book, book))
        number = newest.revision + 1 if newest is not None else 1
        revision = revision_from_proto(statement, number, now, request.retroactive_reason)
        check_publication(Publication(revision, self._jurisdiction, now), book)
        after = PolicyBook([*(member for series in book.series.values() for member in series), revision])
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
            response.overrides.extend(overrides_to_proto(find_overridden(revision, before)))
        if request.HasField("impact_time"):
            impacts = find_impacts(revision.region, before, after, from_timestamp(request.impact_time))
            for impact, _ in zip(impacts, range(MAX_IMPACTS), strict=False):
                response.impacts.append(impact)
        return response

    def _with_token(self, response: R) -> R:
        """The answer with a token of now: made after the commit, so that whoever has seen that instant has seen it."""
        response.consistency_token = encode_token(Freshness("policy", self._jurisdiction, self._clock.now()))
        return response


def find_impacts(region: str, before: PolicyBook, after: PolicyBook, at: Instant) -> Iterator[PolicyImpact]:
    """Which answers differ between two books at an instant, for jurisdictions with policies in a region."""
    for place in sorted({region, *before.regions, *after.regions}):
        if not within(place, region):
            continue
        for purpose in _PURPOSES:
            for origin in (SAME_PROVINCE, OTHER_PROVINCE):
                old = before.resolve_class(place, purpose, origin, at)
                new = after.resolve_class(place, purpose, origin, at)
                if old.effective != new.effective:
                    yield PolicyImpact(
                        region=place,
                        purpose=purpose,
                        origin=origin,
                        before=answer_to_proto(old),
                        after=answer_to_proto(new),
                    )
