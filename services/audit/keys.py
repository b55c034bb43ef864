"""Keyed hashes of the audit, under a key that is derived from the pepper for each service."""

from __future__ import annotations

import hmac
import re
from hashlib import blake2b, sha256
from typing import Any

from services.domain.instant import Instant, shanghai_day
from services.domain.subkeys import Purpose, subkey

TAG_LENGTH = 16
"""Bytes of a tag, as of a subject key."""
_PLAIN = re.compile(
    r"labs/[0-9A-Z]{18}(?:/uploads/[0-9A-Za-z._-]{1,64})?"
    r"|nodes/[0-9]{6}"
    r"|(?:pendingChanges|emergencyGrants)/[0-9a-f-]{36}"
    r"|jurisdictions/[0-9]{6}(?:/policies/[a-z][a-z0-9-]{0,62}(?:@[0-9]{1,9})?)?"
)
"""Names that are stored as they are: they name no person's result, decision or complaint."""
_COLLECTION = re.compile(r"(?:labs/[0-9A-Z]{18}/)?(results|missingReports|decisions|refusals|links)/")


class AuditKeys:
    """Makes the hashes of one service's audit.

    The key is a sub-key of the pepper's secret for this service, so that tags of two services do not match.
    Policy has no pepper and stores nothing about persons. Its secret is empty, so that its heads are plain hashes.
    """

    def __init__(self, secret: bytes, service: str) -> None:
        self._key = subkey(secret, Purpose.AUDIT, part=service)
        self._of_day: tuple[int, Any] = (-1, None)
        # Prepared once, because each Verify hashes its request id.
        self._text = blake2b(b"text", key=self._key, digest_size=TAG_LENGTH)

    def subject_tag(self, subject_key: bytes, day: int) -> bytes:
        """Return the tag of a person on one day. The tags of two days do not show that they are of one person."""
        of_day = self._of_day
        if of_day[0] != day:
            # A keyed BLAKE2b is a third of the cost of an HMAC, and each Verify needs one.
            of_day = self._of_day = (day, blake2b(b"subject%d:" % day, key=self._key, digest_size=TAG_LENGTH))
        state = of_day[1].copy()
        state.update(subject_key)
        tag: bytes = state.digest()
        return tag

    def hide(self, text: str) -> str:
        """Return the hash of a text as hexadecimal."""
        state = self._text.copy()
        state.update(text.encode())
        return state.hexdigest()

    def name_object(self, name: str) -> str:
        """Return a resource name as it is stored. A name that could point to a person is hashed.

        A hashed name keeps its collection: "results/8b1a…". A text that is no name of the contract is left out, because
        the caller of a refused call may have sent anything.
        """
        if _PLAIN.fullmatch(name):
            return name
        found = _COLLECTION.match(name)
        return "" if found is None else f"{found.group(1)}/{self.hide(name)}"

    def head(self, sealed: bytes) -> bytes:
        """Return the head of a seal. Without the key a head cannot be made, even with write access to the database."""
        return hmac.digest(self._key, b"head" + sealed, sha256)


def day_of(time: Instant) -> int:
    """Return the day that a tag is for: that of Asia/Shanghai."""
    return shanghai_day(time)
