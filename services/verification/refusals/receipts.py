"""Codes of receipts, and hashes that find two reports of one refusal. Pure functions.

The code of a receipt lets its holder read the report again.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b, sha256

from services.domain.instant import Instant, shanghai_day
from services.domain.subject import KEY_LENGTH, Pepper
from services.domain.subkeys import Purpose

_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32. It lacks I, L, O and U, which are read as other letters or digits."""
_READ_AS = str.maketrans("OIL", "011")
CODE_LENGTH = 16
"""Letters of a code. With 5 bits each a code has 80 bits, which cannot be guessed."""
_GROUP = 4


def receipt_code(uuid: str, pepper: Pepper) -> str:
    """Return the code of a report.

    It is derived from the report's id, so that a node that was restored from an older copy gives the same code again.
    """
    digest = hmac.digest(pepper.subkey(Purpose.RECEIPT_CODES), uuid.encode(), sha256)
    number = int.from_bytes(digest[: CODE_LENGTH * 5 // 8])
    return "".join(_LETTERS[number >> 5 * place & 31] for place in reversed(range(CODE_LENGTH)))


def format_code(code: str) -> str:
    """Return a code in groups of four; empty for no code."""
    return "-".join(code[start : start + _GROUP] for start in range(0, len(code), _GROUP))


def parse_code(text: str) -> str:
    """Return the letters of a code as a person has typed it. The result need not be the code of any report."""
    return "".join(filter(str.isalnum, text.upper())).translate(_READ_AS)


def same_report_key(subject_key: bytes | None, region: str, purpose: int, refuse_time: Instant) -> bytes | None:
    """Return a hash that two reports have in common if they are about one subject, region, purpose and day.

    Return None without a subject key.
    """
    if subject_key is None:
        return None
    stated = f"/{region}/{purpose}/{shanghai_day(refuse_time)}".encode()
    return blake2b(subject_key + stated, digest_size=KEY_LENGTH).digest()


def request_hash(request_id: str, pepper: Pepper) -> bytes | None:
    """Return a keyed hash of a request id, by which another node recognises the request; None without a request id."""
    if not request_id:
        return None
    key = pepper.subkey(Purpose.REFUSAL_REQUESTS)
    return blake2b(request_id.lower().encode(), key=key, digest_size=KEY_LENGTH).digest()
