"""Receives reported refusals.

Refusals at places of this node are assessed at once. Other reports go to the node of their place.
"""

from __future__ import annotations

from dataclasses import replace

from hutong.exchange.v1.replicated_refusal_pb2 import RefusalEvidence, ShownDecision
from hutong.verification.v1 import refusal_service_pb2
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong_texts import english

from services.domain.document import Document
from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_document, check_region, check_text, check_time
from services.domain.instant import Instant, from_timestamp
from services.domain.names import parse_decision
from services.domain.subject import Pepper
from services.runtime.clock import Clock
from services.runtime.ids import uuid7
from services.verification.decision.weigh import CLOCK_TOLERANCE
from services.verification.refusals.assessing import Assessor, question_of
from services.verification.refusals.convert import refusal_to_proto
from services.verification.refusals.masking import mask_identity
from services.verification.refusals.receipts import format_code, receipt_code, request_hash, same_report_key
from services.verification.refusals.routing import ANSWER_WITHIN, Links
from services.verification.refusals.rules import Refusal
from services.verification.refusals.store import NewReport, RefusalStore
from services.verification.stored_decisions.store import DecisionStore
from services.verification.verify.questions.asker import Asker
from services.verification.verify.verifier import Verifier


class RefusalReporter:
    """Assesses reports, or marks them to be assessed elsewhere, and stores them."""

    def __init__(
        self,
        verifier: Verifier,
        assessor: Assessor,
        decision_store: DecisionStore,
        store: RefusalStore,
        pepper: Pepper,
        clock: Clock,
    ) -> None:
        self._verifier = verifier
        self._assessor = assessor
        self._decision_store = decision_store
        self._store = store
        self._pepper = pepper
        self._clock = clock

    async def report(
        self, request: refusal_service_pb2.ReportRefusalRequest
    ) -> refusal_service_pb2.ReportRefusalResponse:
        """Store a report before the answer is sent, with its assessment if this node assesses it."""
        now = self._clock.now()
        document = _check(request, now)
        links = await self._store.read_links()
        refusal = self._form(request, document, links, now)
        question = question_of(refusal)
        question.document.CopyFrom(request.document)
        question.evidence.extend(request.evidence)
        made = None
        if links.is_place_of(request.region):
            if request.decision:
                # An unknown decision is an error here. If the report goes to another node, the decision is not checked,
                # because that node may have the decision.
                await self._decision_store.get_decision(parse_decision(request.decision, "decision"))
            if document is not None:
                made = await self._verifier.conclude(question)
            refusal, _ = await self._assessor.assess(refusal, made, now)
        else:
            refusal = await self._prepare(refusal, question if document is not None else None)

        def encode(stored: Refusal) -> refusal_service_pb2.ReportRefusalResponse:
            return refusal_service_pb2.ReportRefusalResponse(
                refusal=refusal_to_proto(stored, now), code=format_code(stored.code or "")
            )

        return await self._store.add_refusal(NewReport(refusal, made), request, encode)

    def _form(
        self,
        request: refusal_service_pb2.ReportRefusalRequest,
        document: Document | None,
        links: Links,
        now: Instant,
    ) -> Refusal:
        """Return the report as it is stored, without an assessment."""
        key, other_key = (None, None) if document is None else self._pepper.both_keys(document)
        refuse_time = from_timestamp(request.refuse_time)
        uuid = uuid7()
        if request.decision:
            parse_decision(request.decision, "decision")
        shown = ShownDecision(name=request.decision) if request.decision else ShownDecision()
        return Refusal(
            uuid=uuid,
            region=request.region,
            venue=mask_identity(request.venue, request.document.number, request.document.name),
            purpose=request.purpose,
            refuse_time=refuse_time,
            grounds=tuple(sorted(request.grounds)),
            statement=mask_identity(request.statement, request.document.number, request.document.name),
            subject_key=key,
            key_version=self._pepper.version,
            create_time=now,
            venue_kind=request.venue_kind,
            arriving_from=request.arriving_from,
            origin_node=links.own,
            other_subject_key=other_key,
            code=receipt_code(uuid, self._pepper),
            shown_decision=shown.SerializeToString(),
            request_hash=request_hash(request.request_id, self._pepper),
            same_report_key=same_report_key(key, request.region, request.purpose, refuse_time),
            other_same_report_key=same_report_key(other_key, request.region, request.purpose, refuse_time),
            responsible_node=links.own if links.covers(request.region) else "",
            due_time=now + ANSWER_WITHIN,
        )

    async def _prepare(self, refusal: Refusal, question: VerifyRequest | None) -> Refusal:
        """Return a report with what another node needs to assess it: the evidence and the shown decision.

        `question` is about the person; None if the report names no person.
        """
        evidence = RefusalEvidence()
        if question is not None:
            # Faulty evidence is refused here. Signed reports are read and verified here, because their text is not
            # stored and must not cross.
            read = self._verifier.read(question, Asker(compares_name=False))
            verdicts = await self._verifier.verify_signatures(read)
            evidence = RefusalEvidence(evidence=read.evidence_messages, signature_verdicts=verdicts)
        shown = await self._assessor.read_shown(refusal)
        stored = evidence.SerializeToString()
        return replace(refusal, evidence=stored, shown_decision=b"" if shown is None else shown.SerializeToString())


def _check(request: refusal_service_pb2.ReportRefusalRequest, now: Instant) -> Document | None:
    """Check a report that already satisfies the rules of its .proto.

    Return its canonical document; None if it names no document.

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
