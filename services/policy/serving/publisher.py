"""Publishes and withdraws policies. One transaction reads the book, checks the change and writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias, TypeVar

from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import (
    PublishPolicyRequest,
    PublishPolicyResponse,
    WithdrawPolicyRequest,
    WithdrawPolicyResponse,
)
from hutong_texts import english
from sqlalchemy import Connection

from services.approval.approvals import Decide
from services.domain.errors import FailedPrecondition, InvalidArgument, NotFound, Violation
from services.domain.instant import Instant
from services.domain.names import parse_policy
from services.domain.region import ancestry
from services.policy.changes import insert_revision, newest_position, write_withdrawal
from services.policy.convert import Statement, bare_statement, revision_from_proto
from services.policy.copies import read_nodes_below
from services.policy.model import Revision
from services.policy.rules.guards import (
    Publication,
    check_jurisdiction,
    check_publication,
    check_publisher,
    check_withdrawal,
)
from services.policy.rules.overtaken import require_unchanged
from services.policy.rules.resolve import PolicyBook
from services.policy.serving.answers import Checked, publication_answer, withdrawal_answer
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.store import PolicyStore
from services.runtime.call import current_actor, may_see_actors
from services.runtime.clock import Clock
from services.runtime.consistency import CommitPosition, encode_token
from services.runtime.server.validation import find_violations

R = TypeVar("R", PublishPolicyResponse, WithdrawPolicyResponse)

ReadRetired: TypeAlias = Callable[[], Awaitable[Collection[str]]]
"""Returns the regions of the nodes below that an operator has retired."""
END = "policy.effective_end_time"
"""The field that an error names if a policy ends before it starts. No other rule of the contract is about a policy as a
whole."""
_NEEDED = {"policy.name", "policy.effective_start_time"}
NOT_HASHED = "none"
"""Stands in for the content hash of a policy that breaks rules. Such a policy is refused and need not be hashed."""


class Draft(NamedTuple):
    """A requested publication: its statement, and the rules of the contract that it breaks.

    `proposed` is when a publication that needs approval was proposed; None for other publications.
    """

    request: PublishPolicyRequest
    statement: Statement
    broken_rules: Sequence[Violation]
    proposed: Instant | None = None


class Occasion(NamedTuple):
    """When and by whom something is published or withdrawn.

    Attributes:
        now: the time of the change.
        actor: the name of the caller, if it is known.
        may_see_actors: whether the answer names callers.
        retired: the regions of the retired nodes below.
        approve: is called at the end of the transaction; None for a change that needs no approval.
    """

    now: Instant
    actor: str | None
    may_see_actors: bool
    retired: Collection[str]
    approve: Decide | None


async def needs_no_founding() -> None:
    """Stands for the checks of `Founding` at a node without a node above, which needs no founding."""


async def _none_retired() -> Collection[str]:
    return ()


class PolicyPublisher:
    """Publishes and withdraws policies for one node, whose region is `jurisdiction`.

    `require_current` waits until this node may publish. It raises the errors of `Founding.require_current`.
    """

    def __init__(
        self,
        store: PolicyStore,
        cache: PolicyBookCache,
        jurisdiction: str,
        clock: Clock,
        require_current: Callable[[], Awaitable[None]] = needs_no_founding,
        read_retired: ReadRetired = _none_retired,
    ) -> None:
        self._read_retired = read_retired
        self._require_current = require_current
        self._store = store
        self._cache = cache
        self._jurisdiction = jurisdiction
        self._clock = clock

    async def validate(self, request: PublishPolicyRequest) -> tuple[PublishPolicyResponse, bool]:
        """Return the answer that a publication would have, and whether it would publish a new revision."""
        draft = _draft(request)
        await self._require_current()
        await self._cache.refresh()
        nodes = self._cache.nodes_below.keys() - await self._find_retired(draft.statement.region)
        # A thread finds what the policy changes, because that takes a while for a national policy and other calls must
        # go on.
        return await asyncio.to_thread(self._validate, draft, nodes)

    async def publish(
        self, request: PublishPolicyRequest, approve: Decide | None = None, proposed: Instant | None = None
    ) -> PublishPolicyResponse:
        """Check a policy and publish it, unless the request is only to be validated.

        `approve` is called at the end of the transaction. `proposed` is when a publication that needed approval was
        proposed.
        """
        if request.validate_only:
            return (await self.validate(request))[0]
        draft = _draft(request)._replace(proposed=proposed)
        await self._require_current()
        occasion = await self._occasion(draft.statement.region, approve)
        response = await self._store.change_once(
            request,
            lambda connection: self._publish(connection, draft, occasion),
            PublishPolicyResponse,
            occasion.now,
        )
        await self._cache.refresh()
        return response

    async def validate_withdrawal(self, request: WithdrawPolicyRequest) -> WithdrawPolicyResponse:
        """Return the answer that a withdrawal would have."""
        named = self._parse_withdrawable(request)
        await self._require_current()
        await self._cache.refresh()
        nodes = self._cache.nodes_below.keys() - await self._find_retired(named[0])
        return await asyncio.to_thread(self._validate_withdrawal, request, named, nodes)

    async def withdraw(self, request: WithdrawPolicyRequest, approve: Decide | None = None) -> WithdrawPolicyResponse:
        """Check a withdrawal and withdraw the revision from now on, unless the request is only to be validated.

        `approve` is called at the end of the transaction.
        """
        if request.validate_only:
            return await self.validate_withdrawal(request)
        named = self._parse_withdrawable(request)
        await self._require_current()
        occasion = await self._occasion(named[0], approve)
        response = await self._store.change_once(
            request,
            lambda connection: self._withdraw(connection, request, named, occasion),
            WithdrawPolicyResponse,
            occasion.now,
        )
        await self._cache.refresh()
        return response

    async def _occasion(self, region: str, approve: Decide | None) -> Occasion:
        """Return the occasion of a change that the current caller makes now in a jurisdiction."""
        retired = await self._find_retired(region)
        return Occasion(self._clock.now(), current_actor(), may_see_actors(), retired, approve)

    async def _find_retired(self, region: str) -> Collection[str]:
        """Return the regions of the retired nodes below.

        They are looked up only if a node below covers the region.
        """
        if self._cache.nodes_below.keys().isdisjoint(ancestry(region)):
            return ()
        return await self._read_retired()

    def _publish(self, connection: Connection, draft: Draft, occasion: Occasion) -> PublishPolicyResponse:
        """Check and publish in a transaction. Return the answer."""
        book = self._cache.read_book(connection)
        checked = self._check(draft, book, occasion.now, read_nodes_below(connection).keys() - occasion.retired)
        if checked.is_new:
            if draft.proposed is not None:
                require_unchanged(book.series(*checked.revision.series), draft.proposed)
            checked = Checked(replace(checked.revision, actor=occasion.actor, node=self._jurisdiction), is_new=True)
            insert_revision(connection, checked.revision, draft.statement, occasion.now)
        if occasion.approve is not None:
            occasion.approve(connection)
        response = publication_answer(draft.request, checked, book, with_actors=occasion.may_see_actors)
        return self._with_token(connection, response)

    def _validate(self, draft: Draft, nodes: Collection[str]) -> tuple[PublishPolicyResponse, bool]:
        book = self._cache.book
        checked = self._check(draft, book, self._clock.now(), nodes)
        return publication_answer(draft.request, checked, book), checked.is_new

    def _parse_withdrawable(self, request: WithdrawPolicyRequest) -> tuple[str, str, int]:
        """Return region, policy id and number of the revision to withdraw.

        Raises an error unless this node may withdraw it.
        """
        region, policy_id, number = parse_policy(request.name)
        if number is None:
            raise InvalidArgument.field(
                "name", english("must name the revision to withdraw: …@{revision}"), "MALFORMED_NAME"
            )
        check_jurisdiction(region, self._jurisdiction)
        return region, policy_id, number

    def _withdraw(
        self,
        connection: Connection,
        request: WithdrawPolicyRequest,
        named: tuple[str, str, int],
        occasion: Occasion,
    ) -> WithdrawPolicyResponse:
        """Check and withdraw in a transaction. Return the answer."""
        book, now = self._cache.read_book(connection), occasion.now
        nodes = read_nodes_below(connection).keys() - occasion.retired
        withdrawn = replace(self._withdrawn(request, named, book, now, nodes), withdraw_actor=occasion.actor)
        write_withdrawal(connection, withdrawn, now)
        if occasion.approve is not None:
            occasion.approve(connection)
        response = withdrawal_answer(request, withdrawn, book, now, with_actors=occasion.may_see_actors)
        return self._with_token(connection, response)

    def _validate_withdrawal(
        self, request: WithdrawPolicyRequest, named: tuple[str, str, int], nodes: Collection[str]
    ) -> WithdrawPolicyResponse:
        book, now = self._cache.book, self._clock.now()
        withdrawn = self._withdrawn(request, named, book, now, nodes)
        return withdrawal_answer(request, withdrawn, book, now)

    def _withdrawn(
        self,
        request: WithdrawPolicyRequest,
        named: tuple[str, str, int],
        book: PolicyBook,
        now: Instant,
        nodes_below: Collection[str],
    ) -> Revision:
        """Return the named revision with its withdrawal.

        Raises:
            NotFound: there is no such revision.
            FailedPrecondition: ANOTHER_NODE_PUBLISHES as `check_publisher`; ALREADY_WITHDRAWN; AMBIGUOUS as
                `check_withdrawal`.
        """
        found = _find_named(request.name, named, book)
        check_publisher(found, self._jurisdiction, nodes_below)
        if found.withdraw_time is not None:
            name = request.name
            text = english("{name} is withdrawn already", name=name)
            raise FailedPrecondition("ALREADY_WITHDRAWN", text, metadata={"resource": name})
        check_withdrawal(found, book)
        return replace(found, withdraw_time=now, withdraw_reason=request.reason)

    def _check(self, draft: Draft, book: PolicyBook, now: Instant, nodes_below: Collection[str]) -> Checked:
        """Return the revision to publish, or the published revision if one has the same start and content.

        Raises the errors of `check_publication`.
        """
        statement, broken_rules = draft.statement, draft.broken_rules
        members = book.series(statement.region, statement.policy_id)
        number = members[-1].revision + 1 if members else 1
        # A policy that breaks rules is refused below. It is not hashed, because its times may be impossible to encode.
        hashed = NOT_HASHED if broken_rules else ""
        revision = revision_from_proto(statement, number, now, draft.request.retroactive_reason, hashed)
        standing = [member for member in members if member.withdraw_time is None and member.start == revision.start]
        if standing and standing[-1].content_hash == revision.content_hash:
            return Checked(standing[-1], is_new=False)
        check_publication(Publication(revision, self._jurisdiction, now, nodes_below), book, broken_rules)
        return Checked(revision, is_new=True)

    def _with_token(self, connection: Connection, response: R) -> R:
        """Set the consistency token of an answer in the transaction of the change, and return the answer.

        The token names the last change of the log. If the policy was published before, that publication is covered too.
        """
        commit = CommitPosition("policy", self._jurisdiction, newest_position(connection))
        response.consistency_token = encode_token(commit)
        return response


def _draft(request: PublishPolicyRequest) -> Draft:
    """Read a requested publication, and find the rules that it breaks.

    Raises:
        InvalidArgument: the name or the start time breaks a rule, so that nothing else can be checked.
    """
    if not request.HasField("policy"):
        raise InvalidArgument.field("policy", english("value is required"))
    broken_rules = [
        replace(violation, field=f"policy.{violation.field}" if violation.field else END)
        for violation in find_violations(request.policy)
    ]
    broken_rules += _find_fractions(request.policy)
    if _NEEDED & {violation.field for violation in broken_rules}:
        raise InvalidArgument.of(broken_rules)
    return Draft(request, bare_statement(request.policy), broken_rules)


def _find_named(name: str, named: tuple[str, str, int], book: PolicyBook) -> Revision:
    """Return the named revision.

    Raises:
        NotFound: there is no such revision.
    """
    region, policy_id, number = named
    found = next((revision for revision in book.series(region, policy_id) if revision.revision == number), None)
    if found is None:
        raise NotFound.resource(name)
    return found


def _find_fractions(policy: policy_pb2.Policy) -> list[Violation]:
    """Return a fault for each time or duration with impossible nanos.

    Protobuf can encode such nanos, but JSON cannot.
    """
    asked = policy.test_required
    fractions = {
        "effective_start_time": policy.effective_start_time.nanos,
        "effective_end_time": policy.effective_end_time.nanos,
        "test_required.window.duration": asked.window.duration.nanos,
        "test_required.sampling_proof_window": asked.sampling_proof_window.nanos,
        "test_required.shortest_window.duration": asked.shortest_window.duration.nanos,
        "test_required.adverse_window": asked.adverse_window.nanos,
    }
    for index, accepted in enumerate(asked.accepted):
        fractions[f"test_required.accepted[{index}].window.duration"] = accepted.window.duration.nanos
    return [
        Violation(f"policy.{field}", "INVALID_FIELD", english("nanos must lie between 0 and 999,999,999"))
        for field, nanos in fractions.items()
        if not 0 <= nanos < 1_000_000_000
    ]
