"""Functions of all demonstrations: run the hutong command, print headings, and fail if an answer differs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from hutong_texts import tr

from clients.examples.node import Node

CALL_SECONDS = 30.0
"""Timeout of a demonstration's call. No call to services on the same machine takes as long."""
PATIENT = {"HUTONG_SOURCE_SECONDS": "15"}
"""Lets the services of a demonstration wait longer for each other. On a slow machine the first calls may take longer
than the default of two seconds."""


class StoryDiffers(Exception):
    """An answer differs from the one that the story expects."""


def run_hutong(node: Node, *arguments: str, exit_code: int = 0) -> Any:
    """Run the hutong command against the node with --json, and return its output."""
    command = [sys.executable, "-m", "hutong_client", *arguments, "--json"]
    done = subprocess.run(command, env=node.environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != exit_code:
        raise StoryDiffers(
            tr(
                "hutong {arguments} exited {returncode}: {strip}",
                arguments=" ".join(arguments),
                returncode=done.returncode,
                strip=done.stderr.strip(),
            )
        )
    return json.loads(done.stdout)


def announce(text: str) -> None:
    """Print what comes next."""
    print(f"\n{text}", flush=True)
