"""Unlinking by supervisors, which needs a second approver."""

from __future__ import annotations

from hutong.results.v1.document_link_service_pb2 import UnlinkDocumentsRequest, UnlinkDocumentsResponse
from hutong.results.v1.link_pb2 import DocumentLink as DocumentLinkMessage
from sqlalchemy import Connection

from services.approval.approvals import Approvals, Decide, Made
from services.approval.convert import unpack
from services.approval.model import PendingChange, Proposal
from services.domain.errors import NotFound
from services.domain.subject import mask_free_text
from services.results.documents.convert import link_to_proto
from services.results.documents.key_pairs import keys_of
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.documents.store import DocumentStore, find_active, find_links, not_linked
from services.runtime.call import current_call
from services.runtime.clock import Clock
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest

UNLINK = "hutong.results.v1.DocumentLinkService/UnlinkDocuments"
_SUPERVISOR = "supervisor"


class UnlinkApprovals:
    """Proposes an unlinking that a supervisor asks for, and makes the approved unlinkings."""

    def __init__(self, approvals: Approvals, database: Database, store: DocumentStore, clock: Clock) -> None:
        self._approvals = approvals
        self._database = database
        self._store = store
        self._clock = clock
        approvals.register(UNLINK, self._make, self._find_subjects)

    async def propose(
        self, request: UnlinkDocumentsRequest, document: LinkedDocument, linked: LinkedDocument
    ) -> PendingChange | None:
        """Propose the unlinking if a supervisor asks for it, and return the pending change.

        Return None for an app's user, who needs no second approver. If a change with the same request id was proposed
        before, return that change.

        Raises:
            NotFound: the documents are not linked.
        """
        call = current_call.get()
        if call is None or call.caller.role != _SUPERVISOR:
            return None
        proposed = await self._approvals.find_proposed(request)
        if proposed is not None:
            return proposed
        links = await self._database.read(find_active, document, linked)
        if not links:
            raise not_linked()
        change = link_to_proto(links[0], with_actors=True)
        change.unlink_reason = mask_free_text(request.reason)
        return await self._approvals.propose(request, Proposal(UNLINK, _SUPERVISOR, call.caller.region, "", change))

    def respond(self, change: PendingChange) -> UnlinkDocumentsResponse:
        """Return the answer to an unlinking that needs a second approver."""
        return UnlinkDocumentsResponse(pending_change=self._approvals.to_proto(change))

    async def _find_subjects(self, change: PendingChange) -> list[bytes]:
        """Return the keys of both documents of a proposed unlinking; nothing once the link is no longer stored."""
        shown = DocumentLinkMessage()
        unpack(change, shown)
        links = await self._database.read(find_links, [shown.name.removeprefix("links/")])
        return [key for link in links for key in keys_of(link)]

    async def _make(self, change: PendingChange, approve: Decide) -> Made:
        shown = DocumentLinkMessage()
        unpack(change, shown)
        link_id = shown.name.removeprefix("links/")
        links = await self._database.read(find_links, [link_id])
        if not links:
            raise NotFound.resource(shown.name)

        def encode(_ended: DocumentLink) -> UnlinkDocumentsResponse:
            return UnlinkDocumentsResponse()

        request = UnlinkDocumentsRequest(reason=shown.unlink_reason, request_id=change.change_id)
        once = IdempotentRequest(request, UnlinkDocumentsResponse, encode, self._clock.now())

        def approve_this(connection: Connection) -> None:
            # The proposed link may have ended earlier, and the same documents may have been linked again. `unlink` has
            # then ended the new link, and this error rolls it back.
            if find_links(connection, [link_id])[0].unlink_time != once.now:
                raise not_linked()
            approve(connection)

        documents = (links[0].document, links[0].linked_document)
        await self._store.unlink(*documents, request.reason, once, approve_this)
        return Made(1)
