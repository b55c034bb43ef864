"""Where reports of refusal arrive: each is judged at once, by the rule of the place and by what the person had."""

from __future__ import annotations

from hutong.results.v1.lookup_pb2 import SCOPE_NATIONWIDE
from hutong.verification.v1 import decision_pb2, refusal_service_pb2
from hutong.verification.v1.verification_service_pb2 import VerifyRequest

from services.domain.document import canonical_document
from services.domain.errors import InvalidArgument, Violation
from services.domain.instant import Instant, from_timestamp
from services.domain.names import parse_decision
from services.domain.subject import Pepper
from services.runtime.clock import Clock
from services.runtime.ids import uuid7
from services.verification.desk import DecisionDesk
from services.verification.policy_gateway import PolicyGateway
from services.verification.question import PolicyQuestion, check_document, check_region, check_text, check_time
from services.verification.refusal import Refusal, forbidden_among, judge, mask_identity, was_entitled
from services.verification.refusal_convert import refusal_to_proto
from services.verification.refusal_store import RefusalStore
from services.verification.store import Store, StoredDecision
from services.verification.weigh import CLOCK_TOLERANCE


class RefusalDesk:
    """Takes reports."""

    def __init__(
        self,
        decisions: DecisionDesk,
        policies: PolicyGateway,
        decision_store: Store,
        store: RefusalStore,
        pepper: Pepper,
        clock: Clock,
    ) -> None:
        self._decisions = decisions
        self._policies = policies
        self._decision_store = decision_store
        self._store = store
        self._pepper = pepper
        self._clock = clock

    async def report(
        self, request: refusal_service_pb2.ReportRefusalRequest
    ) -> refusal_service_pb2.ReportRefusalResponse:
        """Judge a report and store it, with the decision that was made for it, before the answer leaves."""
        now = self._clock.now()
        _check(request, now)
        refuse_time = from_timestamp(request.refuse_time)
        shown = await self._read_shown(request)
        made = await self._decide_for(request)
        entitlements = [_entitled(one, request.region, refuse_time) for one in (shown, made) if one is not None]
        policy_question = PolicyQuestion(request.region, request.purpose, request.region, refuse_time, None)
        policy = self._policies.at_hand(policy_question) or await self._policies.resolve(policy_question)
        forbidden = forbidden_among(request.grounds, policy.effective.forbidden_grounds if policy else ())
        named = shown or made
        refusal = Refusal(
            uuid7(),
            request.region,
            mask_identity(request.venue, request.document.number, request.document.name),
            request.purpose,
            refuse_time,
            tuple(sorted(request.grounds)),
            tuple(sorted(forbidden)),
            named.uuid if named is not None else "",
            judge(
                forbidden,
                rule_known=policy is not None,
                entitled=True if True in entitlements else False if False in entitlements else None,
            ),
            mask_identity(request.statement, request.document.number, request.document.name),
            self._subject_key(request),
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
        """The decision that the person was shown; NotFound when it was never stored."""
        if not request.decision:
            return None
        return await self._decision_store.get_decision(parse_decision(request.decision, "decision"))

    async def _decide_for(self, request: refusal_service_pb2.ReportRefusalRequest) -> StoredDecision | None:
        """The decision for the instant of the refusal, when it is told who was refused."""
        if not request.HasField("document"):
            return None
        question = VerifyRequest(
            document=request.document,
            region=request.region,
            purpose=request.purpose,
            use_time=request.refuse_time,
            scope=SCOPE_NATIONWIDE,
            record=True,
        )
        _, kept = await self._decisions.conclude(question)
        return kept

    def _subject_key(self, request: refusal_service_pb2.ReportRefusalRequest) -> bytes | None:
        if not request.HasField("document"):
            return None
        document = request.document
        return self._pepper.subject_key(canonical_document(document.type, document.number, document.issuing_country))


def _check(request: refusal_service_pb2.ReportRefusalRequest, now: Instant) -> None:
    """Find everything wrong with a report that keeps the rules of its .proto; InvalidArgument."""
    found: list[Violation] = []
    check_region(request.region, "region", found)
    if request.HasField("document"):
        check_document(request.document, found)
    check_time(request.refuse_time, "refuse_time", found)
    check_text(request.venue, "venue", found)
    check_text(request.statement, "statement", found)
    if from_timestamp(request.refuse_time) > now + CLOCK_TOLERANCE:
        found.append(Violation("refuse_time", "TIME_IN_FUTURE", "lies in the future"))
    if found:
        raise InvalidArgument.of(found)


def _entitled(stored: StoredDecision, region: str, refuse_time: Instant) -> bool | None:
    """What a stored decision says of the person at the place and instant of the refusal."""
    if decision_pb2.DecisionInputs.FromString(stored.inputs).region != region:
        return None
    decision = decision_pb2.Decision.FromString(stored.decision)
    return was_entitled(
        decision.outcome,
        from_timestamp(decision.use_time),
        from_timestamp(decision.expire_time) if decision.HasField("expire_time") else None,
        refuse_time,
    )
