"""Reads from each request the values that the audit stores, such as names, purpose, region and subject keys.

Fields are found by name, because a field of the same meaning has the same name everywhere in the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from hutong.results.v1.link_pb2 import DocumentLink
from hutong.type.v1.identity_pb2 import IdentityDocument

from services.domain.errors import InvalidArgument
from services.runtime.audit import Subject

KeyOf = Callable[[IdentityDocument], bytes]
"""Returns the subject key of a document. Raises InvalidArgument if the document's number is impossible."""

_NAMES = ("name", "lab", "lab.name", "policy.name", "node", "decision")
"""Fields that may hold the name of a request's object. Of those that a message has, the first is used."""
_DOCUMENTS = ("document", "linked_document")
_KEYS = "subject_keys"
_COUNTED = frozenset(
    {
        "test_results",
        "in_region",
        "out_of_region",
        "document_links",
        "refusals",
        "evidence_cases",
        "missing_reports",
        "legal_holds",
        "held_results",
        "subjects",
        "changes",
        "change",
    }
)
"""Fields of responses whose items are about persons."""
_PENDING = frozenset({"pending_change", "pending_changes"})
_LINK = f"/{DocumentLink.DESCRIPTOR.full_name}"
"""The end of the type of a pending change that removes a link between documents. Such a change is about a person."""


class RequestReader:
    """Reads the requests of one method, or the items of one batch."""

    def __init__(self, message: Descriptor, key_of: KeyOf) -> None:
        self._key_of = key_of
        fields = message.fields_by_name
        self._name = next((path for path in _NAMES if _is_text(message, path)), "")
        self._documents = [name for name in _DOCUMENTS if name in fields]
        self._has_purpose = "purpose" in fields
        self._region = next((path for path in ("region", "lab.region") if _is_text(message, path)), "")
        self._has_keys = _KEYS in fields

    def read(self, request: Message) -> list[Subject]:
        """Return what a request is about: one entry for each document in it, but at least one entry."""
        name = _text(request, self._name)
        about = Subject(
            name,
            None,
            request.purpose if self._has_purpose else 0,  # type: ignore[attr-defined]
            _region(_text(request, self._region)) or _region_in(name),
            len(getattr(request, _KEYS)) if self._has_keys else 1,
        )
        keys = [self._key(getattr(request, name)) for name in self._documents if request.HasField(name)]
        return [about._replace(key=key) for key in keys] or [about]

    def _key(self, document: IdentityDocument) -> bytes | None:
        """Return the key of a document; None if its number is impossible."""
        try:
            return self._key_of(document)
        except InvalidArgument:
            return None


def keyed_subjects(request: Any) -> list[Subject]:
    """Return one entry for each person whom a batch names by a subject key alone."""
    groups = request.keyed if "keyed" in request.DESCRIPTOR.fields_by_name else ()
    return [Subject(key=key) for group in groups for key in group.subject_keys]


def count_persons(response: Message) -> int:
    """Return how many results, links, refusals or changes are in a response; 1 for a response without such fields.

    Of the pending changes in a response of ApprovalService, only those that would end a link are counted.
    """
    if shows_pending_changes(response.DESCRIPTOR):
        return sum(_is_unlinking(change) for change in _pending_changes(response))
    fields = [field for field in response.DESCRIPTOR.fields if field.name in _COUNTED]
    if not fields:
        return 1
    return sum(
        len(getattr(response, field.name)) if field.is_repeated else response.HasField(field.name) for field in fields
    )


def shows_pending_changes(message: Any) -> bool:
    """Whether a message type is a response of ApprovalService that shows pending changes.

    Only few pending changes are about persons.
    """
    return message.file.package == "hutong.approval.v1" and not _PENDING.isdisjoint(message.fields_by_name)


def _pending_changes(response: Any) -> Iterable[Any]:
    return response.pending_changes if hasattr(response, "pending_changes") else [response.pending_change]


def _is_unlinking(change: Any) -> bool:
    return bool(change.change.type_url.endswith(_LINK))


def _is_text(message: Descriptor, path: str) -> bool:
    *parents, last = path.split(".")
    for name in parents:
        field = message.fields_by_name.get(name)
        if field is None or field.message_type is None:
            return False
        message = field.message_type
    field = message.fields_by_name.get(last)
    return field is not None and field.message_type is None and not field.is_repeated


def _text(message: Any, path: str) -> str:
    for name in path.split(".") if path else ():
        message = getattr(message, name)
    return message if path else ""


def _region(text: str) -> str:
    """Return a region's code.

    Return an empty text for anything else, because the request may not have been validated.
    """
    return text if len(text) == 6 and text.isascii() and text.isdecimal() else ""


def _region_in(name: str) -> str:
    """Return the region of a policy's or a node's name; empty for other names."""
    kind, _, rest = name.partition("/")
    return _region(rest[:6]) if kind in {"jurisdictions", "nodes"} else ""


def subjects_of(reader: RequestReader | None, request: object) -> Sequence[Subject]:
    """Return what a request is about.

    Return a single empty Subject for a stream and for a request that cannot be read.
    """
    if reader is None or not isinstance(request, Message):
        return [Subject()]
    return reader.read(request)
