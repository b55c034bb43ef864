"""Conversion between links and their rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from services.results.documents.model import DocumentLink, LinkedDocument


def link_values(link: DocumentLink) -> dict[str, Any]:
    """Return the row of a link."""
    return {
        "link_id": link.link_id,
        "subject_key": link.document.subject_key,
        "document_type": link.document.type,
        "masked_number": link.document.masked_number,
        "linked_subject_key": link.linked_document.subject_key,
        "linked_document_type": link.linked_document.type,
        "linked_masked_number": link.linked_document.masked_number,
        "reason": link.reason,
        "create_time": link.create_time,
        "unlink_time": link.unlink_time,
        "unlink_reason": link.unlink_reason,
        "actor": link.actor,
        "unlink_actor": link.unlink_actor,
        "source_node": link.source_node,
        "unlink_node": link.unlink_node,
        "key_version": link.key_version,
    }


def link_from_row(row: Row) -> DocumentLink:  # type: ignore[type-arg]
    """Return the link of a row. The other keys of its documents are not in the row."""
    return DocumentLink(
        row.link_id,
        LinkedDocument(row.subject_key, row.document_type, row.masked_number),
        LinkedDocument(row.linked_subject_key, row.linked_document_type, row.linked_masked_number),
        row.reason,
        row.create_time,
        row.unlink_time,
        row.unlink_reason,
        row.actor,
        row.unlink_actor,
        row.source_node,
        row.unlink_node,
        row.key_version,
    )
