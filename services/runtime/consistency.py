"""Consistency tokens: a service, a node and the instant of a commit that the caller has seen.

Tokens are opaque to callers. A service that reads its own database sees every commit acknowledged before, so a token of
its own node never makes it wait. A cache or a copy must catch up with a token of another node or service.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from services.domain.errors import InvalidArgument
from services.domain.instant import MINUTE, Instant, Span

_FORM = re.compile(r"1/(results|policy|verification)/([0-9]{6})/([0-9]{1,18})")
MAX_CLOCK_SKEW: Span = 5 * MINUTE
"""How far another node's clock may be ahead of this one's. Uploads tolerate five minutes too. A token further in the
future was not issued by this system."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """The content of a token: a service, its node's region, and the instant up to which the caller saw its commits."""

    service: str
    region: str
    instant: Instant


def encode_token(freshness: Freshness) -> str:
    """Return the token for a freshness."""
    text = f"1/{freshness.service}/{freshness.region}/{freshness.instant}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_token(token: str, now: Instant, field: str = "at_least_as_fresh") -> Freshness | None:
    """Return the content of a caller's token; None for the empty token.

    Raises:
        InvalidArgument: INVALID_CONSISTENCY_TOKEN, the token was not issued by this system.
    """
    freshness = read_token(token)
    if token and (freshness is None or freshness.instant > now + MAX_CLOCK_SKEW):
        raise InvalidArgument.field(field, "is not a token of this system", "INVALID_CONSISTENCY_TOKEN")
    return freshness


def read_token(token: str) -> Freshness | None:
    """Return the content of a token; None for the empty token and for one that was not issued by this system."""
    if not token:
        return None
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    match = _FORM.fullmatch(text)
    return None if match is None else Freshness(match.group(1), match.group(2), int(match.group(3)))
