"""Conversion between document links and messages."""

from __future__ import annotations

from typing import cast

from hutong.results.v1 import link_pb2
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest
from hutong.type.v1 import identity_pb2
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.instant import Instant, optional_timestamp, to_timestamp
from services.domain.names import format_node
from services.domain.subject import Pepper, mask_free_text, mask_number
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.fields import document_from_proto


def linked_from_proto(document: identity_pb2.IdentityDocument, pepper: Pepper, field: str) -> LinkedDocument:
    """Return one side of a link. Raises InvalidArgument for an impossible number."""
    canonical = document_from_proto(document, field)
    mask = mask_number(canonical.number)
    subject_key, other_key = pepper.both_keys(canonical)
    return LinkedDocument(subject_key, canonical.type, mask, other_key)


def link_from_proto(request: LinkDocumentsRequest, pepper: Pepper, link_id: str, now: Instant) -> DocumentLink:
    """Return a link to make now. Raises InvalidArgument if both documents are the same or a number is impossible."""
    document = linked_from_proto(request.document, pepper, "document")
    linked = linked_from_proto(request.linked_document, pepper, "linked_document")
    if document.subject_key == linked.subject_key:
        raise InvalidArgument.field(
            "linked_document", english("is the same document, or the same number under another label")
        )
    reason = mask_free_text(request.reason)
    return DocumentLink(link_id, document, linked, reason, now, key_version=pepper.version)


def link_to_proto(link: DocumentLink, *, with_actors: bool = False) -> link_pb2.DocumentLink:
    """Return a link's message, with masks for the document numbers."""
    return link_pb2.DocumentLink(
        name=f"links/{link.link_id}",
        type=cast("identity_pb2.DocumentType.ValueType", link.document.type),
        masked_number=link.document.masked_number,
        linked_type=cast("identity_pb2.DocumentType.ValueType", link.linked_document.type),
        linked_masked_number=link.linked_document.masked_number,
        reason=link.reason,
        create_time=to_timestamp(link.create_time),
        unlink_time=optional_timestamp(link.unlink_time),
        unlink_reason=link.unlink_reason,
        actor=link.actor or "" if with_actors else "",
        unlink_actor=link.unlink_actor or "" if with_actors else "",
        unlink_node=format_node(link.unlink_node) if link.unlink_node and link.unlink_time is not None else "",
    )
