"""Duties for reports of other nodes: this node assesses refusals at its places, and takes over overdue reports."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog
from hutong.exchange.v1.replicated_refusal_pb2 import RefusalEvidence
from hutong.verification.v1.decision_pb2 import DECISION_REASON_SOURCE_UNAVAILABLE, Decision
from sqlalchemy import Connection, and_, not_, or_, select

from services.domain.errors import HutongError
from services.domain.instant import SECOND, Instant
from services.domain.names import format_refusal
from services.domain.subject import Pepper
from services.runtime.background import Job
from services.runtime.clock import Clock
from services.storage.advisory_locks import AdvisoryLock
from services.storage.columns import in_region
from services.storage.engine import Database
from services.storage.process_lock import aio_try_process_lock
from services.verification.holder_tokens.seal import HolderToken
from services.verification.refusal_exchange.timing import RefusalTiming
from services.verification.refusals.assessing import Assessor, question_of
from services.verification.refusals.outbox import read_links
from services.verification.refusals.report_writer import ReportWriter
from services.verification.refusals.routing import ASSESS_WITHIN, take_over
from services.verification.refusals.rows import find_refusal, from_row
from services.verification.refusals.rules import ASSESSMENT, Refusal
from services.verification.refusals.tables import refusals
from services.verification.stored_decisions.store import StoredDecision, insert_decisions
from services.verification.verify.verifier import Verifier

_AT_ONCE = 100
"""The most reports that one step reads."""
_C = refusals.c
_log = structlog.get_logger(__name__)


class RefusalDuties:
    """Assesses reports that were made at other nodes, and takes over overdue ones. `own` is the region of this node."""

    def __init__(
        self,
        database: Database,
        verifier: Verifier,
        assessor: Assessor,
        pepper: Pepper,
        clock: Clock,
        own: str,
        timing: RefusalTiming,
        *,
        has_upstream: bool,
    ) -> None:
        self._database = database
        self._verifier = verifier
        self._assessor = assessor
        self._pepper = pepper
        self._clock = clock
        self._own = own
        self._timing = timing
        self._has_upstream = has_upstream
        self._retry_times: dict[str, Instant] = {}

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The background jobs."""
        return (
            partial(self._repeat, self.assess_waiting, self._timing.assess),
            partial(self._repeat, self.take_over_overdue, self._timing.escalation),
        )

    async def _repeat(self, step: Job, seconds: float) -> None:
        while True:
            try:
                await step()
            except HutongError as error:
                _log.warning("reported refusals wait", why=error.reason, text=error.message)
            await asyncio.sleep(seconds)

    async def assess_waiting(self) -> None:
        """Assess the reports that wait for this node. Only one process of the node does this."""
        now = self._clock.now()
        if not await self._database.read(self._waiting, "", now):
            return
        async with aio_try_process_lock(self._database, "assessments", AdvisoryLock.ASSESSMENTS) as is_held:
            if is_held:
                await self._assess_waiting(now)

    async def _assess_waiting(self, now: Instant) -> None:
        self._retry_times = {uuid: time for uuid, time in self._retry_times.items() if time > now}
        after = ""
        while found := await self._database.read(self._waiting, after, now):
            for refusal in found:
                if refusal.uuid not in self._retry_times:
                    await self._assess(refusal)
            after = found[-1].uuid

    def _waiting(self, connection: Connection, after: str, now: Instant) -> list[Refusal]:
        links = read_links(connection, self._own, self._has_upstream)
        elsewhere = or_(*(in_region(_C.region, node) for node in links.below)) if links.below else None
        conditions = [
            _C.responsible_node == self._own,
            _C.answer_time.is_(None),
            _C.assess_time.is_(None),
            _C.duplicate_of == "",
            _C.uuid > after,
        ]
        if elsewhere is not None:
            # If the node of the place is a node below, this node assesses a report in two cases: it has taken the
            # report over, or the report has waited too long.
            late = _C.create_time < now - ASSESS_WITHIN
            conditions.append(or_(not_(elsewhere), _C.escalation_count > 0, late))
        query = select(refusals).where(and_(*conditions)).order_by(_C.uuid).limit(_AT_ONCE)
        return [from_row(row) for row in connection.execute(query)]

    async def _assess(self, refusal: Refusal) -> None:
        now = self._clock.now()
        made = await self._decide_for(refusal)
        assessed, rule_known = await self._assessor.assess(refusal, made, now)
        is_known = rule_known and not (made is not None and _lacks_a_source(made))
        if not is_known and now - refusal.create_time < ASSESS_WITHIN:
            self._retry_times[refusal.uuid] = now + round(self._timing.assess_retry * SECOND)
            return
        await self._database.write(self._store_assessment, assessed, made, now)

    async def _decide_for(self, refusal: Refusal) -> StoredDecision | None:
        known: list[bytes] = []
        if refusal.subject_key is not None and self._pepper.of_version(refusal.key_version) is not None:
            known.append(refusal.subject_key)
        if refusal.other_subject_key is not None:
            known.append(refusal.other_subject_key)
        if not known:
            return None
        holder = HolderToken(b"", known[0], "", 0, 0, known[1] if len(known) > 1 else b"")
        try:
            verdicts = RefusalEvidence.FromString(refusal.evidence).signature_verdicts
            return await self._verifier.conclude(question_of(refusal), holder, verdicts)
        except HutongError as error:
            _log.warning(
                "no decision could be made for a report", name=format_refusal(refusal.uuid), reason=error.reason
            )
            return None

    def _store_assessment(
        self, connection: Connection, assessed: Refusal, made: StoredDecision | None, now: Instant
    ) -> None:
        stored = find_refusal(connection, assessed.uuid, to_change=True)
        if stored is None or stored.assess_time is not None:
            return
        if made is not None:
            insert_decisions(connection, [made])
        writer = ReportWriter.begin(connection, self._own, self._has_upstream, now)
        writer.update_everywhere(stored.with_part(assessed, ASSESSMENT))

    async def take_over_overdue(self) -> None:
        """Take over the overdue reports of the nodes below, some in each transaction."""
        after: str | None = ""
        while after is not None:
            after = await self._database.write(self._take_over, after)

    def _take_over(self, connection: Connection, after: str) -> str | None:
        """Take over some reports after the report `after`. Return the last report that was read; None at the end."""
        now = self._clock.now()
        writer = ReportWriter.begin(connection, self._own, self._has_upstream, now)
        if not writer.links.below:
            return None
        query = (
            select(refusals)
            .where(
                _C.responsible_node != self._own,
                _C.responsible_node != "",
                in_region(_C.responsible_node, self._own),
                in_region(_C.region, self._own),
                _C.answer_time.is_(None),
                _C.due_time < now,
                _C.duplicate_of == "",
                _C.uuid > after,
            )
            .order_by(_C.uuid)
            .limit(_AT_ONCE)
            .with_for_update()
        )
        found = [from_row(row) for row in connection.execute(query)]
        for refusal in found:
            taken = take_over(writer.links, refusal.region, refusal.responsibility, now)
            if taken is not None:
                _log.warning(
                    "an overdue report is taken over",
                    name=format_refusal(refusal.uuid),
                    from_node=refusal.responsible_node,
                )
                writer.update_everywhere(refusal.with_responsibility(taken))
        return found[-1].uuid if found else None


def _lacks_a_source(made: StoredDecision) -> bool:
    return Decision.FromString(made.decision).reason == DECISION_REASON_SOURCE_UNAVAILABLE
