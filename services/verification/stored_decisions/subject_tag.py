"""Tags a stored decision with its subject, so that only a holder of the document can check whom it is about. Pure."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import NamedTuple

from services.domain.subject import KEY_LENGTH, Pepper
from services.domain.subkeys import Purpose


class SubjectTag(NamedTuple):
    """A keyed hash of one decision and the document it was made for, and the version of the pepper.

    Two decisions of one subject have different tags, so the table of decisions does not show where a subject went.
    """

    key: bytes
    version: int


def subject_tag(uuid: str, subject: bytes, pepper: Pepper) -> SubjectTag:
    """Return the tag of a decision. `subject` is the subject key of the document that it was made for."""
    digest = hmac.digest(pepper.subkey(Purpose.DECISION_TAGS), uuid.encode() + subject, sha256)
    return SubjectTag(digest[:KEY_LENGTH], pepper.version)


def is_tagged(kept: SubjectTag | None, uuid: str, subject: bytes, pepper: Pepper) -> bool | None:
    """Return whether a decision is about a subject.

    None means unknown: the decision has no tag, or a tag under another pepper.
    """
    if kept is None or kept.version != pepper.version:
        return None
    return hmac.compare_digest(kept.key, subject_tag(uuid, subject, pepper).key)
