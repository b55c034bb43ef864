"""Receives reported refusals. Assesses each at once by the policy of the place and by decisions about the person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.type.v1.purpose_pb2 import PURPOSE_UNSPECIFIED
from hutong.verification.v1 import decision_pb2, refusal_service_pb2
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong_texts import english

from services.domain.document import Document
from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_document, check_region, check_text, check_time
from services.domain.instant import Instant, from_timestamp
from services.domain.names import parse_decision
from services.domain.region import NATION
from services.domain.subject import Pepper
from services.runtime.clock import Clock
from services.runtime.ids import uuid7
from services.verification.decision.weigh import CLOCK_TOLERANCE
from services.verification.refusals.convert import refusal_to_proto
from services.verification.refusals.masking import mask_identity
from services.verification.refusals.rules import (
    Refusal,
    assess,
    forbidden_among,
    outweighs_what_was_shown,
    was_entitled,
    was_refusable,
)
from services.verification.refusals.store import RefusalStore
from services.verification.sources.model import PolicyQuestion
from services.verification.sources.policy_client import PolicyClient
from services.verification.stored_decisions.store import DecisionStore, StoredDecision
from services.verification.stored_decisions.subject_tag import is_tagged
from services.verification.verify.verifier import Verifier


class RefusalReporter:
    """Assesses reports and stores them."""

    def __init__(
        self,
        verifier: Verifier,
        policies: PolicyClient,
        decision_store: DecisionStore,
        store: RefusalStore,
        pepper: Pepper,
        clock: Clock,
    ) -> None:
        self._verifier = verifier
        self._policies = policies
        self._decision_store = decision_store
        self._store = store
        self._pepper = pepper
        self._clock = clock

    async def report(
        self, request: refusal_service_pb2.ReportRefusalRequest
    ) -> refusal_service_pb2.ReportRefusalResponse:
        """Assess a report and store it, with the decision that was made for it, before the answer is sent."""
        now = self._clock.now()
        document = _check(request, now)
        refuse_time = from_timestamp(request.refuse_time)
        subject_keys = [] if document is None else self._pepper.subject_keys(document)
        shown = await self._read_shown(request)
        made = await self._decide_for(request)
        counting = shown if shown is not None and self._counts(shown, made, request, subject_keys) else None
        said = [_read(one, refuse_time, was_shown=one is counting) for one in (counting, made) if one is not None]
        entitled = _either([one.entitled for one in said], weighs_more=True)
        origin = "" if request.arriving_from == NATION else request.arriving_from
        policy_question = PolicyQuestion(request.region, request.purpose, origin, refuse_time, None)
        policy = self._policies.find_cached(policy_question) or await self._policies.resolve(policy_question)
        forbidden = forbidden_among(request.grounds, policy.forbidden_grounds if policy else (), entitled=entitled)
        named = counting or made or shown
        refusal = Refusal(
            uuid7(),
            request.region,
            mask_identity(request.venue, request.document.number, request.document.name),
            request.purpose,
            refuse_time,
            tuple(sorted(request.grounds)),
            tuple(sorted(forbidden)),
            named.uuid if named is not None else "",
            assess(
                forbidden,
                rule_known=policy is not None,
                entitled=entitled,
                refusable=_either([one.refusable for one in said], weighs_more=False),
            ),
            mask_identity(request.statement, request.document.number, request.document.name),
            subject_keys[0] if subject_keys else None,
            self._pepper.version,
            now,
        )
        return await self._store.add_refusal(
            refusal,
            made,
            request,
            lambda stored: refusal_service_pb2.ReportRefusalResponse(refusal=refusal_to_proto(stored)),
        )

    async def _read_shown(self, request: refusal_service_pb2.ReportRefusalRequest) -> StoredDecision | None:
        """Return the decision that was shown to the person; None if the report names none.

        Raises:
            NotFound: the decision is not stored.
        """
        if not request.decision:
            return None
        return await self._decision_store.get_decision(parse_decision(request.decision, "decision"))

    async def _decide_for(self, request: refusal_service_pb2.ReportRefusalRequest) -> StoredDecision | None:
        """Decide for the time of the refusal. Return None if the report does not contain the person's document."""
        if not request.HasField("document"):
            return None
        question = VerifyRequest(
            document=request.document,
            region=request.region,
            purpose=request.purpose,
            arriving_from=request.arriving_from,
            use_time=request.refuse_time,
            evidence=request.evidence,
            scope=LOOKUP_SCOPE_NATIONWIDE,
            store_decision=True,
        )
        return await self._verifier.conclude(question)

    def _counts(
        self,
        shown: StoredDecision,
        made: StoredDecision | None,
        request: refusal_service_pb2.ReportRefusalRequest,
        subject_keys: Sequence[bytes],
    ) -> bool:
        """Return whether the shown decision counts for this refusal.

        It counts if it has the region of the refusal, and the purpose and person as far as these are known. It does not
        count if the decision made for the report found a positive, because that decision replaces it.
        """
        inputs = decision_pb2.DecisionInputs.FromString(shown.inputs)
        if inputs.region != request.region or inputs.purpose not in (PURPOSE_UNSPECIFIED, request.purpose):
            return False
        if subject_keys and is_tagged(shown.subject, shown.uuid, subject_keys, self._pepper) is False:
            return False
        return made is None or not outweighs_what_was_shown(decision_pb2.Decision.FromString(made.decision).reason)


def _check(request: refusal_service_pb2.ReportRefusalRequest, now: Instant) -> Document | None:
    """Check a report that already satisfies the rules of its .proto. Return its canonical document; None without one.

    Raises:
        InvalidArgument: the report has faults; the error lists all of them.
    """
    found: list[Violation] = []
    check_region(request.region, "region", found)
    if request.arriving_from:
        check_region(request.arriving_from, "arriving_from", found)
    document = None
    if request.HasField("document"):
        document = check_document(request.document, "document", found)
    elif request.evidence:
        found.append(
            Violation("evidence", "INVALID_FIELD", english("needs document: it is weighed with that person's records"))
        )
    check_time(request.refuse_time, "refuse_time", found)
    check_text(request.venue, "venue", found)
    check_text(request.statement, "statement", found)
    if from_timestamp(request.refuse_time) > now + CLOCK_TOLERANCE:
        found.append(Violation("refuse_time", "TIME_IN_FUTURE", english("lies in the future")))
    if found:
        raise InvalidArgument.of(found)
    return document


class _Said(NamedTuple):
    """Statements of a stored decision about the person at the time of the refusal; None where it states nothing."""

    entitled: bool | None
    refusable: bool | None


def _read(stored: StoredDecision, refuse_time: Instant, *, was_shown: bool) -> _Said:
    decision = decision_pb2.Decision.FromString(stored.decision)
    use_time = from_timestamp(decision.use_time)
    entitled = was_entitled(
        decision.outcome,
        use_time,
        from_timestamp(decision.expire_time) if decision.HasField("expire_time") else None,
        refuse_time,
    )
    refusable = was_refusable(
        decision.outcome,
        refusal_permitted=decision.refusal_permitted,
        was_shown=was_shown,
        use_time=use_time,
        refuse_time=refuse_time,
    )
    return _Said(entitled, refusable)


def _either(said: list[bool | None], *, weighs_more: bool) -> bool | None:
    """Combine what decisions say. If they differ, the answer `weighs_more` counts.

    Return None if no decision says anything.
    """
    if weighs_more in said:
        return weighs_more
    return not weighs_more if (not weighs_more) in said else None
