"""Consistency tokens: "what its holder saw", as a node's service and the instant of its commit.

Opaque to callers. A service that reads its own database directly sees every commit acknowledged before, so a token of
its own node needs no waiting; a token of another node or service is what a cache or a copy must catch up with.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from services.domain.errors import InvalidArgument
from services.domain.instant import MINUTE, Instant, Span

_FORM = re.compile(r"1/(results|policy|verification)/([0-9]{6})/([0-9]{1,18})")
AHEAD: Span = 5 * MINUTE
"""How far a node's clock may be ahead of ours; a token of a later commit is none of ours."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """What a token stands for: a service of a node, and the instant up to which its holder saw it."""

    service: str
    region: str
    instant: Instant


def encode_token(freshness: Freshness) -> str:
    """The token to hand out."""
    text = f"1/{freshness.service}/{freshness.region}/{freshness.instant}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_token(token: str, now: Instant, field: str = "at_least_as_fresh") -> Freshness | None:
    """What a token stands for; None for the empty one.

    Raises:
        InvalidArgument: INVALID_CONSISTENCY_TOKEN, it is not one of ours.
    """
    freshness = read_token(token)
    if token and (freshness is None or freshness.instant > now + AHEAD):
        raise InvalidArgument.field(field, "is not a token of this system", "INVALID_CONSISTENCY_TOKEN")
    return freshness


def read_token(token: str) -> Freshness | None:
    """What a token says; None for the empty one and for one that is none of ours."""
    if not token:
        return None
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    match = _FORM.fullmatch(text)
    return None if match is None else Freshness(match.group(1), match.group(2), int(match.group(3)))
