"""Names of callers. A SPIFFE ID or the claims of a token give a role, a name and a region. Pure functions."""

from __future__ import annotations

import re

from services.domain.names import is_uscc
from services.domain.region import is_region
from services.runtime.caller import EDGE

_ID = r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,64}"
"""An identifier is the last segment of a name. SPIFFE permits no segment "." or ".."."""
_REGION = "(?P<region>[0-9]{6})"
_FORMS = {
    "lab": re.compile(r"labs/(?P<uscc>[0-9A-Z]{18})"),
    "gate": re.compile(rf"gates/{_REGION}/{_ID}"),
    "app": re.compile(rf"apps/{_ID}"),
    "authority": re.compile(rf"authorities/{_REGION}(?:/{_ID})?"),
    "supervisor": re.compile(rf"supervisors/{_REGION}(?:/{_ID})?"),
    "node": re.compile(rf"nodes/{_REGION}"),
    "verification": re.compile(rf"services/verification(?:/{_REGION})?"),
    "operator": re.compile(rf"operators/{_ID}"),
    EDGE: re.compile(rf"edges/{_ID}"),
}
"""The form of a caller's name by its role."""
ROLES = tuple(role for role in _FORMS if role != EDGE)
"""The roles of the contract. EDGE is not one of them."""


def parse_caller(name: str) -> tuple[str, str] | None:
    """Return the role and the region in a caller's name, such as "gates/410100/7"; None for any other text."""
    for role, form in _FORMS.items():
        if (found := form.fullmatch(name)) is not None:
            parts = found.groupdict()
            if not is_region(parts.get("region") or "000000") or not is_uscc(parts.get("uscc") or "91410100MA0000001X"):
                return None
            return role, parts.get("region") or ""
    return None


def parse_spiffe_id(text: str, trust_domain: str) -> str:
    """Return the path of a SPIFFE ID without its first slash.

    Return an empty text if the ID is not under the trust domain.
    """
    start = f"spiffe://{trust_domain}/"
    return text.removeprefix(start) if text.startswith(start) else ""
