"""How the schema of a database fits this version of a service."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

OLDEST_SERVED: Final = {"results": "0031", "policy": "0015", "verification": "0013"}
"""The schema of the release before, for each service. This version runs on it during a rolling upgrade.

Each release sets these to the newest revisions of the release before it."""


class SchemaFit(Enum):
    """How the schema of a database fits this version of a service."""

    CURRENT = auto()
    """It is this version's schema or a newer one."""
    OLDER = auto()
    """It is older, but not older than the schema of the release before. It lacks tables or columns."""
    UNFIT = auto()
    """It is older still, or empty, or it was not read yet."""
