"""The operator who runs a command on the machine of the node."""

from __future__ import annotations

import getpass
import os


def operator_name() -> str:
    """Return the operator's login name as records state it, such as "local:root"."""
    try:
        return f"local:{getpass.getuser()}"[:100]
    except (OSError, KeyError):
        # The system may have no entry for the user, as in many containers.
        return f"local:{os.getuid()}"
