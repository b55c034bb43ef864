"""Tags a stored decision with its subject, so that only a holder of the document can check whom it concerns. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from services.domain.subject import KEY_LENGTH, Pepper
from services.domain.subkeys import Purpose


class SubjectTag(NamedTuple):
    """A keyed hash of a decision and of the document for which it was made, with the version of the pepper.

    Two decisions of one subject have different tags, so the table of decisions does not show where a subject went.
    """

    key: bytes
    version: int


def subject_tag(uuid: str, subject: bytes, pepper: Pepper) -> SubjectTag:
    """Return the tag of a decision. `subject` is the subject key of the document that it was made for."""
    digest = hmac.digest(pepper.subkey(Purpose.DECISION_TAGS), uuid.encode() + subject, sha256)
    return SubjectTag(digest[:KEY_LENGTH], pepper.version)


def is_tagged(kept: SubjectTag | None, uuid: str, subject_keys: Sequence[bytes], pepper: Pepper) -> bool | None:
    """Return whether a decision is about a subject, given the subject's key under each key version.

    None means unknown: the decision has no tag, or a tag under a version that this process does not have.
    """
    made_with = None if kept is None else pepper.of_version(kept.version)
    if kept is None or made_with is None:
        return None
    return any(hmac.compare_digest(kept.key, subject_tag(uuid, key, made_with).key) for key in subject_keys)
