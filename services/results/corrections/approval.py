"""Recalls of many results, which need a second approver."""

from __future__ import annotations

from hutong.results.v1.results_admin_service_pb2 import RecallResultsRequest, RecallResultsResponse

from services.approval.approvals import Approvals, Decide, Made
from services.approval.convert import unpack
from services.approval.model import PendingChange, Proposal
from services.domain.errors import FailedPrecondition
from services.results.corrections.convert import recall_from_proto
from services.results.corrections.model import Recalled
from services.results.corrections.store import CorrectionStore
from services.results.fields import token
from services.results.labs.store import LabStore
from services.runtime.clock import Clock
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest

RECALL = "hutong.results.v1.ResultsAdminService/RecallResults"


class RecallApprovals:
    """Proposes recalls of more than `limit` results, and makes those that were approved."""

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
        approvals.register(RECALL, self._make)

    async def propose(self, request: RecallResultsRequest) -> PendingChange | None:
        """Propose the recall if it needs a second approver, or return the change that its request id has proposed.

        Returns None for a recall that needs none.
        """
        if request.validate_only or not self._approvals.is_needed():
            return None
        proposed = await self._approvals.find_proposed(request)
        if proposed is not None:
            return proposed
        count = await self._count(request)
        if count <= self._limit:
            return None
        recall = recall_from_proto(request)
        lab = await self._labs.get_lab(recall.lab)
        masked = RecallResultsRequest()
        masked.CopyFrom(request)
        masked.reason = recall.reason
        return await self._approvals.propose(
            request, Proposal(RECALL, "supervisor", lab.region, request.lab, masked, count)
        )

    def respond(self, change: PendingChange) -> RecallResultsResponse:
        """Return the answer to a recall that needs a second approver."""
        return RecallResultsResponse(
            recalled_count=change.changed_count,
            consistency_token=change.consistency_token,
            pending_change=self._approvals.to_proto(change),
        )

    async def _make(self, change: PendingChange, approve: Decide) -> Made:
        request = RecallResultsRequest()
        unpack(change, request)
        if change.decide_time is None:
            count = await self._count(request)
            if count > change.item_count:
                raise FailedPrecondition(
                    "CHANGE_GREW",
                    f"{count} results would be recalled, and {change.item_count} were proposed; propose it anew",
                    metadata={"proposed": str(change.item_count), "now": str(count)},
                )
            await self._database.write(approve)
        request.request_id = change.change_id
        response = await self._recall(request, dry_run=False)
        return Made(response.recalled_count, response.consistency_token)

    async def _count(self, request: RecallResultsRequest) -> int:
        response = await self._recall(request, dry_run=True)
        return response.recalled_count

    async def _recall(self, request: RecallResultsRequest, *, dry_run: bool) -> RecallResultsResponse:
        def encode(recalled: Recalled) -> RecallResultsResponse:
            return RecallResultsResponse(
                recalled_count=recalled.report_count, consistency_token=token(self._jurisdiction, recalled.position)
            )

        once = IdempotentRequest(request, RecallResultsResponse, encode, self._clock.now())
        return await self._store.recall(recall_from_proto(request), once, dry_run=dry_run)
