"""The only source of identifiers."""

from __future__ import annotations

import uuid_utils


def uuid7() -> str:
    """Return a UUID version 7 (RFC 9562) in lower case. Such ids sort by their creation time, to the millisecond."""
    return str(uuid_utils.uuid7())
