"""Entry point of the command `hutong`, also as `python -m hutong_client`."""

from __future__ import annotations

import sys

_EXTRA = frozenset(
    {"click", "olefile", "openpyxl", "protovalidate", "python_calamine", "rich", "stdnum", "watchfiles", "yaml"}
)
"""Import names of the packages that the extra `cli` installs."""
_USAGE = 2
"""The command's exit code for wrong usage."""


def main() -> None:
    """Run the command and exit."""
    try:
        from hutong_client.cli.main import run  # noqa: PLC0415 - the library works without these packages
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        hint = "install the packages of the command with: pip install 'hutong-client[cli]'"
        print(f"hutong: {error.name} is not installed; {hint}", file=sys.stderr)
        sys.exit(_USAGE)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
