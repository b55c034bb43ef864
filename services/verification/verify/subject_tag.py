"""Tags a stored decision with its subject, so that only someone who has the document can check whose it is. Pure."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import NamedTuple

from services.domain.subject import KEY_LENGTH, Pepper


class SubjectTag(NamedTuple):
    """A keyed hash of one decision and the document it was made for, and the version of the pepper.

    Each decision has its own, so that a table of them does not show where one person went.
    """

    key: bytes
    version: int


def subject_tag(uuid: str, subject: bytes, pepper: Pepper) -> SubjectTag:
    """The tag of a decision; `subject` is the key of the document it was made for."""
    digest = hmac.digest(pepper.secret, b"decision" + uuid.encode() + subject, sha256)
    return SubjectTag(digest[:KEY_LENGTH], pepper.version)


def is_tagged(kept: SubjectTag | None, uuid: str, subject: bytes, pepper: Pepper) -> bool | None:
    """Whether a decision is of a subject. None if that is unknown: no tag was kept, or one under another pepper."""
    if kept is None or kept.version != pepper.version:
        return None
    return hmac.compare_digest(kept.key, subject_tag(uuid, subject, pepper).key)
