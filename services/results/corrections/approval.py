"""Recalls of many results, which need a second approver."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from hutong.results.v1.results_admin_service_pb2 import RecallResultsRequest, RecallResultsResponse
from hutong_texts import english

from services.approval.approvals import Approvals, Decide, Made
from services.approval.convert import unpack
from services.approval.model import PendingChange, Proposal
from services.domain.errors import FailedPrecondition
from services.domain.instant import DAY, Span
from services.results.corrections.convert import recall_from_proto
from services.results.corrections.model import Recall, Recalled
from services.results.corrections.store import CorrectionStore, count_unapproved
from services.results.fields import token
from services.results.labs.store import LabStore
from services.runtime.clock import Clock
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest

COUNTED: Span = DAY
"""For how long a change without approval counts towards the limit. A large recall in many small parts therefore needs
approval too.

The mistakes that a laboratory finds by itself concern a batch or two a day, which the limit allows.
"""
RECALL = "hutong.results.v1.ResultsAdminService/RecallResults"


class RecallApprovals:
    """Makes recalls. Proposes a recall instead if it takes the laboratory beyond `limit` results a day."""

    def __init__(
        self,
        approvals: Approvals,
        database: Database,
        store: CorrectionStore,
        labs: LabStore,
        jurisdiction: str,
        clock: Clock,
        limit: int,
    ) -> None:
        self._approvals = approvals
        self._database = database
        self._store = store
        self._labs = labs
        self._jurisdiction = jurisdiction
        self._clock = clock
        self._limit = limit
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        approvals.register(RECALL, self._make)

    async def recall(self, request: RecallResultsRequest) -> RecallResultsResponse:
        """Recall results. If the recall needs a second approver, propose it instead."""
        recall = recall_from_proto(request)
        if request.validate_only:
            return await self._recall(request, recall, dry_run=True)
        async with self._alone(recall.lab):
            proposed = await self._propose(request, recall)
            if proposed is None:
                return await self._recall(request, recall, dry_run=False)
        return RecallResultsResponse(
            recalled_count=proposed.changed_count,
            consistency_token=proposed.consistency_token,
            pending_change=self._approvals.to_proto(proposed),
        )

    async def _propose(self, request: RecallResultsRequest, recall: Recall) -> PendingChange | None:
        """Propose the recall if it needs a second approver, and return the pending change.

        Return None for a recall that needs no approver. If a change with the same request id was proposed before,
        return that change.
        """
        if not self._approvals.is_needed():
            return None
        proposed = await self._approvals.find_proposed(request)
        if proposed is not None:
            return proposed
        count = (await self._recall(request, recall, dry_run=True)).recalled_count
        earlier = await self._database.read_in_bulk(count_unapproved, recall.lab, self._clock.now() - COUNTED)
        if not count or count + earlier <= self._limit:
            return None
        lab = await self._labs.get_lab(recall.lab)
        masked = RecallResultsRequest()
        masked.CopyFrom(request)
        masked.reason = recall.reason
        return await self._approvals.propose(
            request, Proposal(RECALL, "supervisor", lab.region, request.lab, masked, count)
        )

    def _alone(self, lab: str) -> asyncio.Lock:
        """Return the lock of a laboratory. A recall holds the lock while it counts and recalls results.

        The next recall of the laboratory waits for the lock. Its count therefore includes what the earlier recall has
        recalled. Each process has its own locks.
        """
        lock = self._locks.get(lab)
        if lock is None:
            lock = self._locks[lab] = asyncio.Lock()
        return lock

    async def _make(self, change: PendingChange, approve: Decide) -> Made:
        request = RecallResultsRequest()
        unpack(change, request)
        recall = recall_from_proto(request)
        if change.decide_time is None:
            count = (await self._recall(request, recall, dry_run=True)).recalled_count
            if count > change.item_count:
                raise FailedPrecondition(
                    "CHANGE_GREW",
                    english(
                        "{count} results would be recalled, and {item_count} were proposed; propose it anew",
                        count=count,
                        item_count=change.item_count,
                    ),
                    metadata={"proposed": str(change.item_count), "now": str(count)},
                )
            await self._database.write(approve)
        request.request_id = change.change_id
        response = await self._recall(request, recall, dry_run=False)
        return Made(response.recalled_count, response.consistency_token)

    async def _recall(self, request: RecallResultsRequest, recall: Recall, *, dry_run: bool) -> RecallResultsResponse:
        """Recall the results, or only count them in a dry run."""

        def encode(recalled: Recalled) -> RecallResultsResponse:
            response = RecallResultsResponse(recalled_count=recalled.report_count)
            if not dry_run:
                response.consistency_token = token(self._jurisdiction, recalled.position)
            return response

        once = IdempotentRequest(request, RecallResultsResponse, encode, self._clock.now())
        return await self._store.recall(recall, once, dry_run=dry_run)
