"""A subject as the databases store it: a keyed hash for look-ups, and masks for display.

Numbers and names are never stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

from services.domain import person_name
from services.domain.document import RESIDENT_ID_CARD, Document, has_check_character
from services.domain.person_name import is_own_form, person_name_form
from services.domain.subkeys import Purpose, subkey

_RESIDENT_NUMBER = re.compile(r"(?<![0-9])[0-9]{17}[0-9Xx](?![0-9])")
_TELEPHONE = re.compile(
    r"(?<![\dA-Za-z])(?:(?:\+|00)?86[ -]?)?"
    # A mobile number, such as 138 0013 8000, or a landline with its area code, such as 010-6655 4433 or (0435) 3512345.
    r"(?:1[3-9]\d[ -]?\d{4}[ -]?\d{4}|[(\uff08]?0[1-9]\d{1,2}[)\uff09]?[ -]?\d{3,4}[ -]?\d{4})(?![\dA-Za-z])"
)
_HALF_WIDTH = str.maketrans("０１２３４５６７８９Ｘｘ＋－（）\u3000", "0123456789Xx+-() ")
"""Full-width characters that occur in numbers typed with a Chinese input method, with their half-width forms."""
_BIRTHDAY = re.compile(r"(?:1[89]|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
RESIDENT_NUMBER_LENGTH = 18
KEY_LENGTH = 16
"""The length of a subject key in bytes. With 128 bits, the probability of a collision among 10¹⁰ documents is below
10⁻¹⁸."""
NAME_HASH_LENGTH = 1 + KEY_LENGTH
"""The length of a name's hash in bytes. The hash has the version of the normal form (`person_name.VERSION`) and a keyed
hash."""
_NAME_VERSION = bytes([person_name.VERSION])
CLASS_RULE = 2
"""The version of the rule that divides documents into classes. Subject keys by different rules do not match.

By rule 1, every document type was a class. By rule 2, all numbers of GB 11643 are one class. Raise the version with
every change of `Document.document_class`, so that stores and nodes with another rule are refused.
"""


class Pepper:
    """The nation's secret key for hashing documents, and its version. All nodes have the same pepper.

    Attributes:
        other: while the pepper rotates, the pepper of the other version, whose rows are looked up too; None otherwise.
    """

    __slots__ = ("_inner", "_keyed", "_outer", "_subkeys", "other", "secret", "version")

    def __init__(self, secret: bytes, version: int = 1, other: Pepper | None = None) -> None:
        self.secret = secret
        self.version = version
        self.other = other
        self._subkeys: dict[Purpose, bytes] = {}
        # HMAC's two keyed states (RFC 2104) are computed once. Copying them halves the cost of a subject key, which is
        # needed for every person of every upload and look-up.
        block = (hashlib.sha256(secret).digest() if len(secret) > 64 else secret).ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
        self._keyed = hashlib.blake2b(key=self.subkey(Purpose.NAME_HASHES), digest_size=KEY_LENGTH)

    def __repr__(self) -> str:
        return f"Pepper(version={self.version})"

    @property
    def versions(self) -> tuple[Pepper, ...]:
        """The peppers whose rows are looked up: this pepper and, if there is one, the pepper of the other version."""
        return (self,) if self.other is None else (self, self.other)

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The secrets of the key versions. The secret under which keys are written comes first."""
        return tuple(pepper.secret for pepper in self.versions)

    def of_version(self, version: int) -> Pepper | None:
        """Return the pepper of a key version; None if this process does not have it."""
        return next((pepper for pepper in self.versions if pepper.version == version), None)

    def subkey(self, purpose: Purpose) -> bytes:
        """Return the sub-key for a purpose. Each sub-key is derived once."""
        found = self._subkeys.get(purpose)
        if found is None:
            found = self._subkeys[purpose] = subkey(self.secret, purpose, self.version)
        return found

    def subject_key(self, document: Document) -> bytes:
        """Return the subject key: the first 16 bytes of HMAC-SHA-256 over the document's class and canonical number."""
        return self._key_of(_hashed(document))

    def subject_keys(self, document: Document) -> list[bytes]:
        """Return the document's subject key under each key version. The key under this version comes first."""
        hashed = _hashed(document)
        return [pepper._key_of(hashed) for pepper in self.versions]  # noqa: SLF001 - of the same class

    def both_keys(self, document: Document) -> tuple[bytes, bytes | None]:
        """Return the document's subject key under this version, and its key under the other version, if any."""
        hashed = _hashed(document)
        return self._key_of(hashed), None if self.other is None else self.other._key_of(hashed)  # noqa: SLF001

    def _key_of(self, hashed: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(hashed)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()[:KEY_LENGTH]

    def keys_of(self, documents: Sequence[Document]) -> list[bytes]:
        """Return the subject key of each document under this version.

        An upload needs the keys of thousands of documents. One loop costs less than as many calls of `subject_key`.
        """
        new_inner, new_outer = self._inner.copy, self._outer.copy
        keys = []
        for document in documents:
            inner = new_inner()
            inner.update(_hashed(document))
            outer = new_outer()
            outer.update(inner.digest())
            keys.append(outer.digest()[:KEY_LENGTH])
        return keys

    def name_hash(self, name: str) -> bytes:
        """Return the hash of a name. It has the version of the normal form, and a keyed hash of the normal form.

        The hash is empty if the name has no normal form.
        """
        form = person_name_form(name)
        return _NAME_VERSION + self._hash_name(form) if form else b""

    def name_hashes(self, name: str) -> tuple[bytes, ...]:
        """Return `name_hash` under each key version. Return no hashes for a name without a normal form."""
        form = person_name_form(name)
        if not form:
            return ()
        own = _NAME_VERSION + self._hash_name(form)
        return (own,) if self.other is None else (own, _NAME_VERSION + self.other._hash_name(form))  # noqa: SLF001

    def hash_stated_name(self, name: str) -> tuple[bytes, bytes]:
        """Return two hashes of a name as a laboratory states it. One is for the content hash, the other is `name_hash`.

        The first hash is made from the name in lower case without spaces. It is empty for an empty name. Its rule must
        never change, because a report that is sent again is recognised by the content hash.
        """
        bare = name.replace(" ", "").lower()
        stated = self._hash_name(bare) if bare else b""
        form = person_name_form(name)
        if not form:
            return stated, b""
        return stated, _NAME_VERSION + (stated if form == bare else self._hash_name(form))

    def hash_stated_names(self, names: Sequence[str]) -> tuple[list[bytes], list[bytes]]:
        """Return both hashes of each name, as `hash_stated_name` does, in two columns."""
        new_keyed = self._keyed.copy
        stated_names, name_hashes = [], []
        for name in names:
            if is_own_form(name):
                keyed = new_keyed()
                keyed.update(name.encode())
                stated = keyed.digest()
                name_hash = _NAME_VERSION + stated
            else:
                stated, name_hash = self.hash_stated_name(name)
            stated_names.append(stated)
            name_hashes.append(name_hash)
        return stated_names, name_hashes

    def _hash_name(self, name: str) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(name.encode())
        return keyed.digest()


_RESIDENT_PREFIX = b"%d::" % RESIDENT_ID_CARD


def _hashed(document: Document) -> bytes:
    """Return the bytes whose keyed hash is a document's subject key."""
    stated, number, country = document
    if stated == RESIDENT_ID_CARD and not country:
        # Most documents are resident identity cards. Their class is the stated type.
        return _RESIDENT_PREFIX + number.encode()
    class_type, country = document.document_class
    return f"{class_type}:{country}:{number}".encode()


def is_comparable(name_hash: bytes) -> bool:
    """Whether a stored hash of a name can be compared with the hashes that `Pepper.name_hash` makes now.

    An empty hash cannot be compared. Neither can a hash of another version of the normal form. A hash of KEY_LENGTH
    bytes is older than the versions and has none.
    """
    return len(name_hash) == NAME_HASH_LENGTH and name_hash.startswith(_NAME_VERSION)


def mask_name(name: str) -> str:
    """Mask all but the first character, as in "张**". In a name of one character, mask this character."""
    bare = name.strip()
    return bare[:1] + "*" * (len(bare) - 1) if len(bare) > 1 else "*" * len(bare)


def mask_number(number: str) -> str:
    """Mask all but the first two and the last two characters.

    In a number under 8 characters, mask all but the first.
    """
    if len(number) < 8:
        return number[:1] + "*" * (len(number) - 1)
    return number[:2] + "*" * (len(number) - 4) + number[-2:]


def holds_resident_number(text: str) -> bool:
    """Whether a text contains a resident identity card number. Its check character and birthday must fit.

    Of random codes with 18 digits, one in ten thousand fits by chance.
    """
    return len(text) >= RESIDENT_NUMBER_LENGTH and any(
        has_check_character(number) and _BIRTHDAY.fullmatch(number, 6, 14)
        for number in map(str.upper, _RESIDENT_NUMBER.findall(text))
    )


def mask_free_text(text: str) -> str:
    """Mask every resident identity card number and every telephone number of mainland China in a free text."""
    return mask_telephone_numbers(mask_resident_numbers(text))


def mask_telephone_numbers(text: str) -> str:
    """Mask every telephone number of mainland China in a free text.

    Digits that may be part of a longer number are kept.
    """
    return _mask_each(_TELEPHONE, _mask_telephone, text)


def _mask_telephone(number: str) -> str:
    """Mask all digits but the last two. Separators and the length are kept."""
    last = len(number) - 2
    return "".join("*" if it.isdecimal() and place < last else it for place, it in enumerate(number))


def mask_resident_numbers(text: str) -> str:
    """Mask every resident identity card number in a free text."""
    return _mask_each(_RESIDENT_NUMBER, mask_number, text)


def _mask_each(pattern: re.Pattern[str], mask: Callable[[str], str], text: str) -> str:
    """Mask every match of a pattern, also in full-width characters. `mask` must keep the length."""
    for match in pattern.finditer(text.translate(_HALF_WIDTH)):
        start, end = match.span()
        text = text[:start] + mask(text[start:end]) + text[end:]
    return text
