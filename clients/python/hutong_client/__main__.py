"""`hutong`, also as `python -m hutong_client`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command and exit."""
    from hutong_client.cli.main import run  # noqa: PLC0415 - only the command needs all of it

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
