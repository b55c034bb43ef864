"""How the schema of a database fits this version of a service."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

OLDEST_SERVED: Final = {"results": "0031", "policy": "0015", "verification": "0013"}
"""The schema of the previous release, for each service. During a rolling upgrade, this version runs on that schema.

Each release sets these values to the newest revisions of the previous release.
"""


class SchemaFit(Enum):
    """How the schema of a database fits this version of a service."""

    CURRENT = auto()
    """The schema of this version, or a newer one."""
    OLDER = auto()
    """The schema of the previous release, or a schema between that and the schema of this version. Tables or columns
    are missing."""
    UNFIT = auto()
    """A still older schema, an empty database, or a schema that was not read yet."""
