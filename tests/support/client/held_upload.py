"""`hutong upload` in a process of its own, held up before it can end."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from hutong_client.cli.uploads.journal import journal_path

from clients.examples.node import Node
from tests.support.link import Link, link_to
from tests.support.processes import started
from tests.support.waiting import until


def acknowledged_offset(file: Path) -> int:
    """Return how many tubes of a file are acknowledged by its journal: none if there is no journal yet."""
    journal = journal_path(file)
    return int(json.loads(journal.read_text("utf-8"))["acknowledged_offset"]) if journal.exists() else 0


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
        command = [sys.executable, "-m", "hutong_client", *arguments]
        with started(command, env=environment, **options) as process:
            await until(is_far_enough)
            yield process, link
