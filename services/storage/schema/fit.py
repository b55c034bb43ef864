"""How the schema of a database fits this version of a service."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

OLDEST_SERVED: Final = {"results": "0031", "policy": "0015", "verification": "0013"}
"""The schema of the release before, for each service. This version runs on that schema during a rolling upgrade.

Each release sets the values to the newest revisions of the release before it.
"""


class SchemaFit(Enum):
    """How the schema of a database fits this version of a service."""

    CURRENT = auto()
    """The schema of this version, or a newer one."""
    OLDER = auto()
    """An older schema, but not older than that of the release before. Tables or columns are missing."""
    UNFIT = auto()
    """A still older schema, an empty database, or a schema that was not read yet."""
