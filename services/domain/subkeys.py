"""Sub-keys of the nation's secret. Each purpose has an independent key by HKDF-SHA256 (RFC 5869). Pure."""

from __future__ import annotations

from enum import Enum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SUBKEY_LENGTH = 32
"""The length of a sub-key in bytes. A SHA-256 hash is as long, and so is a key of AES-256 or ChaCha20."""


class Purpose(Enum):
    """What a sub-key is for. The text is part of the derivation.

    It must never change, and no two purposes may share it.
    """

    AUDIT = "audit"
    AUDIT_KEYS = "audit keys"
    DECISION_TAGS = "decision tags"
    HOLDER_TOKENS = "holder tokens"
    KNOWN_BATCHES = "known batches"
    MARK = "mark"
    NAME_HASHES = "name hashes"
    PAGE_TOKENS = "page tokens"
    RECEIPT_CODES = "receipt codes"
    REFUSAL_REQUESTS = "refusal requests"
    REQUEST_MEMORY = "request memory"
    SHOWN_REPORTS = "shown reports"


def subkey(secret: bytes, purpose: Purpose, version: int = 1, part: str = "") -> bytes:
    """Return the sub-key of a secret for a purpose. It does not reveal the secret or any other sub-key.

    Args:
        secret: the nation's secret. It is empty where hashes need no key, as in Policy, which stores nothing about
            persons.
        purpose: what the sub-key is for.
        version: the secret's key version.
        part: separates users of one purpose, such as the services. Hashes of different users then do not match.
    """
    info = f"hutong/{purpose.value}/{version}/{part}".encode()
    return HKDF(SHA256(), SUBKEY_LENGTH, salt=None, info=info).derive(secret)
