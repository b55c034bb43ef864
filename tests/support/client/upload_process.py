"""`hutong upload` in a process of its own, to its end or held up before it can end."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.uploads.journal import journal_path

from clients.examples.node import Node
from tests.support.link import Link, link_to
from tests.support.processes import run, started
from tests.support.waiting import until

HUTONG = (sys.executable, "-m", "hutong_client")
_DAY_SECONDS = 120.0
"""The longest that an upload of a laboratory's whole day takes on a busy machine."""


def upload(node: Node, arguments: Sequence[str]) -> dict[str, Any]:
    """Run `hutong` with these arguments. Return what it prints as JSON. Some rows must be rejected."""
    done = run([*HUTONG, *arguments], env=node.environment, timeout=_DAY_SECONDS)
    assert done.returncode == ExitCode.PARTLY, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def read_journal(file: Path) -> dict[str, Any]:
    """Return the journal of a file's upload: empty if there is none yet."""
    path = journal_path(file)
    journal: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return journal


def acknowledged_offset(file: Path) -> int:
    """Return how many tubes of a file are acknowledged by its journal."""
    return int(read_journal(file).get("acknowledged_offset", 0))


@contextlib.asynccontextmanager
async def held_upload(
    node: Node, file: Path, arguments: Sequence[str], *, tubes: int, step: int = 1_000
) -> AsyncIterator[tuple[subprocess.Popen[str], Link]]:
    """Run `hutong` with these arguments over a link that forwards its bytes in steps.

    The block begins once the journal has `tubes` more tubes. From then on the link forwards nothing to the service, so
    that the command can end only when the link is mended.
    """
    least = acknowledged_offset(file) + tubes
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    async with link_to(node.addresses["results"]) as link:
        link.hold_after(step)

        def is_far_enough() -> bool:
            # The journal is not written at every acknowledgement. A command that waits for acknowledgements sends no
            # more than its window, so that it cannot run far ahead of its journal.
            if acknowledged_offset(file) >= least:
                return True
            if link.is_holding:
                link.hold_after(step)
            return False

        environment = node.environment | {"HUTONG_RESULTS_ADDRESS": link.address}
        with started([*HUTONG, *arguments], env=environment, **options) as process:
            await until(is_far_enough)
            yield process, link
