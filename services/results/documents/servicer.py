"""DocumentLinkService: links between documents of one subject. The contract documents each RPC."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hutong.results.v1.document_link_service_pb2 import (
    LinkDocumentsRequest,
    LinkDocumentsResponse,
    ListLinkedDocumentsRequest,
    ListLinkedDocumentsResponse,
    UnlinkDocumentsRequest,
    UnlinkDocumentsResponse,
)

from services.domain.subject import Pepper, mask_free_text
from services.results.documents import convert
from services.results.documents.approval import UnlinkApprovals
from services.results.documents.model import DocumentLink
from services.results.documents.store import DocumentStore
from services.results.fields import document_from_proto
from services.runtime.call import current_actor, may_see_actors
from services.runtime.clock import Clock
from services.runtime.ids import uuid7
from services.runtime.page_tokens import PageTokens, rows_to_read
from services.storage.idempotency import IdempotentRequest

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class DocumentLinkServicer:
    """Links between documents of one subject."""

    def __init__(
        self, store: DocumentStore, approvals: UnlinkApprovals, pepper: Pepper, tokens: PageTokens, clock: Clock
    ) -> None:
        self._store = store
        self._approvals = approvals
        self._pepper = pepper
        self._tokens = tokens
        self._clock = clock

    async def LinkDocuments(self, request: LinkDocumentsRequest, context: Context) -> LinkDocumentsResponse:
        now = self._clock.now()
        link = replace(convert.link_from_proto(request, self._pepper, uuid7(), now), actor=current_actor())
        shown = may_see_actors()

        def encode(link: DocumentLink) -> LinkDocumentsResponse:
            return LinkDocumentsResponse(document_link=convert.link_to_proto(link, with_actors=shown))

        return await self._store.link(link, IdempotentRequest(request, LinkDocumentsResponse, encode, now))

    async def UnlinkDocuments(self, request: UnlinkDocumentsRequest, context: Context) -> UnlinkDocumentsResponse:
        now = self._clock.now()
        document = convert.linked_from_proto(request.document, self._pepper, "document")
        linked = convert.linked_from_proto(request.linked_document, self._pepper, "linked_document")
        proposed = await self._approvals.propose(request, document, linked)
        if proposed is not None:
            return self._approvals.respond(proposed)
        shown = may_see_actors()

        def encode(link: DocumentLink) -> UnlinkDocumentsResponse:
            return UnlinkDocumentsResponse(document_link=convert.link_to_proto(link, with_actors=shown))

        idempotent = IdempotentRequest(request, UnlinkDocumentsResponse, encode, now)
        return await self._store.unlink(document, linked, mask_free_text(request.reason), idempotent)

    async def ListLinkedDocuments(
        self, request: ListLinkedDocumentsRequest, context: Context
    ) -> ListLinkedDocumentsResponse:
        keys = self._pepper.subject_keys(document_from_proto(request.document))
        position = self._tokens.position(request, (int, str))
        after = (position[0], position[1]) if position else None
        links = await self._store.list_links(keys, after, rows_to_read(request.page_size))
        shown, token = self._tokens.page(request, links, lambda link: [link.create_time, link.link_id])
        return ListLinkedDocumentsResponse(
            document_links=[convert.link_to_proto(link, with_actors=may_see_actors()) for link in shown],
            next_page_token=token,
        )
