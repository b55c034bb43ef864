"""The one maker of identifiers."""

from __future__ import annotations

import uuid_utils


def uuid7() -> str:
    """A UUID version 7 (RFC 9562) in lower case: sorts by the time it was made, to the millisecond."""
    return str(uuid_utils.uuid7())
