"""The limits on the documents of a subject and on the links of a document."""

from __future__ import annotations

from hutong_texts import english
from sqlalchemy import Connection, func, or_, select

from services.domain.errors import FailedPrecondition
from services.results.documents.claims import MAX_LINKED
from services.results.documents.model import LinkedDocument
from services.results.documents.tables import document_links

MAX_KEPT_LINKS = 1_000
"""How many links of one document are kept, ended ones included, before this node refuses to make another one. Nobody
corrects links so often. The limit bounds the links of one person."""

_links = document_links


def require_few_documents(count: int) -> None:
    """Raise FailedPrecondition TOO_MANY_LINKED if a subject would have more than MAX_LINKED documents."""
    if count > MAX_LINKED:
        raise FailedPrecondition(
            "TOO_MANY_LINKED",
            english(
                "{count} documents would belong to one person, who may have at most {max_linked}; "
                "unlink documents that were linked by mistake first",
                count=count,
                max_linked=MAX_LINKED,
            ),
            metadata={"limit": str(MAX_LINKED), "count": str(count)},
        )


def require_few_links(connection: Connection, document: LinkedDocument, field: str) -> None:
    """Raise FailedPrecondition TOO_MANY_LINKED if MAX_KEPT_LINKS links of a document are kept."""
    either = or_(_links.c.subject_key.in_(document.keys), _links.c.linked_subject_key.in_(document.keys))
    count = connection.execute(select(func.count()).select_from(_links).where(either)).scalar_one()
    if count >= MAX_KEPT_LINKS:
        text = english(
            "the document in {field} has {count} links, ended ones included; at most {limit} are kept",
            field=field,
            count=count,
            limit=MAX_KEPT_LINKS,
        )
        metadata = {"field": field, "limit": str(MAX_KEPT_LINKS), "count": str(count)}
        raise FailedPrecondition("TOO_MANY_LINKED", text, metadata=metadata)
