"""Keyed hashes of the audit, under a key that is derived from the pepper for each service.

While the pepper rotates there are two keys. Each seal and each tag is made under one of them.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from hashlib import blake2b, sha256
from operator import attrgetter

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from services.domain.instant import Instant, shanghai_day
from services.domain.names import is_uscc
from services.domain.subject import Pepper, holds_resident_number
from services.domain.subkeys import Purpose, subkey

TAG_LENGTH = 16
"""Length of a tag in bytes. A subject key has the same length."""
_PLAIN = re.compile(
    r"labs/(?P<uscc>[0-9A-Z]{18})(?:/uploads/[0-9A-Za-z._-]{1,64})?"
    r"|nodes/[0-9]{6}"
    r"|(?:pendingChanges|emergencyGrants|legalHolds)/[0-9a-f-]{36}"
    r"|jurisdictions/[0-9]{6}(?:/policies/[a-z][a-z0-9-]{0,62}(?:@[0-9]{1,9})?)?"
)
"""Matches the names that are stored in the clear, because they name no person's result, decision or complaint."""
_COLLECTION = re.compile(r"(?:labs/[0-9A-Z]{18}/)?(results|missingReports|decisions|refusals|cases|links)/")


class AuditKeys:
    """Makes the hashes of one service's audit.

    The key is a sub-key of the pepper's secret for this service, so that tags of two services do not match.
    Policy has no pepper and stores nothing about persons. Its secret is empty, so that its heads are plain hashes.

    Attributes:
        key: the key itself.
        version: the key version of the pepper.
        versions: the keys of all known versions, these keys included, by version.
    """

    def __init__(self, key: bytes, version: int = 1, others: Sequence[AuditKeys] = ()) -> None:
        self.key = key
        self.version = version
        self.versions: tuple[AuditKeys, ...] = tuple(sorted((self, *others), key=attrgetter("version")))
        # The day in the last call of `tagger`, and the function that this call returned.
        self._of_day: tuple[int, Callable[[bytes], bytes]] | None = None
        # Prepared once, because the request id of each Verify is hashed.
        self._text = blake2b(b"text", key=key, digest_size=TAG_LENGTH)

    @classmethod
    def of_secret(cls, secret: bytes, service: str, version: int = 1) -> AuditKeys:
        """Return the keys of a service under a pepper's secret."""
        return cls(subkey(secret, Purpose.AUDIT, part=service), version)

    @classmethod
    def of_pepper(cls, pepper: Pepper, service: str) -> AuditKeys:
        """Return the keys of the version under which new hashes are made.

        If there is another version, they also know the keys of that version.
        """
        written, *others = [cls.of_secret(one.secret, service, one.version) for one in pepper.versions]
        return cls(written.key, written.version, others)

    @property
    def newest(self) -> AuditKeys:
        """The keys of the greatest version that is known."""
        return self.versions[-1]

    def with_other(self, other: AuditKeys) -> AuditKeys:
        """Return the same keys, which also know the keys of another version."""
        return AuditKeys(self.key, self.version, [other, *(one for one in self.versions if one is not self)])

    def wrap(self, older: AuditKeys) -> bytes:
        """Return the key of an earlier version, encrypted under a sub-key of this object's key (RFC 3394)."""
        return aes_key_wrap(subkey(self.key, Purpose.AUDIT_KEYS), older.key)

    def unwrap(self, wrapped: bytes) -> bytes | None:
        """Return a key that `wrap` encrypted under this key; None for anything else."""
        try:
            return aes_key_unwrap(subkey(self.key, Purpose.AUDIT_KEYS), wrapped)
        except (InvalidUnwrap, ValueError):
            return None

    def subject_tag(self, subject_key: bytes, day: int) -> bytes:
        """Return the tag of a person on one day. The tags of two days do not show that they are of one person."""
        return self.tagger(day)(subject_key)

    def tagger(self, day: int) -> Callable[[bytes], bytes]:
        """Return the function that makes the tags of persons, given by their subject keys, on one day."""
        # Several threads call this function at the same time, so the attribute is read only once.
        known = self._of_day
        if known is not None and known[0] == day:
            return known[1]
        # A keyed BLAKE2b is a third of the cost of an HMAC, and each Verify needs one.
        keyed = blake2b(b"subject%d:" % day, key=self.key, digest_size=TAG_LENGTH)

        def make(subject_key: bytes) -> bytes:
            state = keyed.copy()
            state.update(subject_key)
            return state.digest()

        self._of_day = (day, make)
        return make

    def hide(self, text: str) -> str:
        """Return the hash of a text as hexadecimal."""
        state = self._text.copy()
        state.update(text.encode())
        return state.hexdigest()

    def name_object(self, name: str) -> str:
        """Return a resource name as it is stored. A name that could point to a person is hashed.

        A hashed name keeps its collection: "results/8b1a…". A text that is no resource name of the contract is left
        out, because a caller whose call is refused may have sent any text. A laboratory's name therefore needs the
        right check character, and a name that holds the number of a resident identity card is left out.
        """
        plain = _PLAIN.fullmatch(name)
        if plain is not None:
            is_stored = (plain["uscc"] is None or is_uscc(plain["uscc"])) and not holds_resident_number(name)
            return name if is_stored else ""
        found = _COLLECTION.match(name)
        return "" if found is None else f"{found.group(1)}/{self.hide(name)}"

    def head(self, sealed: bytes) -> bytes:
        """Return the head of a seal. Without the key a head cannot be made, even with write access to the database."""
        return hmac.digest(self.key, b"head" + sealed, sha256)


def day_of(time: Instant) -> int:
    """Return the day of a tag, which is the day in Asia/Shanghai."""
    return shanghai_day(time)
