"""Whose a stored decision is, told only to who holds the document. Pure."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import NamedTuple

from hutong.type.v1.identity_pb2 import IdentityDocument

from services.domain.document import canonical_document
from services.domain.subject import KEY_LENGTH, Pepper


class PersonKey(NamedTuple):
    """A keyed hash of one decision and the document it was made for, and the version of the pepper.

    Each decision has its own, so that a table of them does not tell where one person went.
    """

    key: bytes
    version: int


def subject_key(document: IdentityDocument, pepper: Pepper) -> bytes:
    """The key of a document as it was sent. BadDocument."""
    return pepper.subject_key(canonical_document(document.type, document.number, document.issuing_country))


def person_key(uuid: str, subject: bytes, pepper: Pepper) -> PersonKey:
    """What is kept with a decision of whose it is."""
    digest = hmac.digest(pepper.secret, b"decision" + uuid.encode() + subject, sha256)
    return PersonKey(digest[:KEY_LENGTH], pepper.version)


def is_of(kept: PersonKey | None, uuid: str, subject: bytes, pepper: Pepper) -> bool | None:
    """Whether a decision is of a person; None where that cannot be told: nothing was kept, or under another pepper."""
    if kept is None or kept.version != pepper.version:
        return None
    return hmac.compare_digest(kept.key, person_key(uuid, subject, pepper).key)
