"""What the demonstrations share: how they speak, how they run the hutong command, and how they fail."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from clients.examples.node import Node

CALL_SECONDS = 10.0
"""The longest that a call of a demonstration may take."""


class StoryDiffers(Exception):
    """Something did not come out as the story says."""


def run_hutong(node: Node, *arguments: str, exit_code: int = 0) -> Any:
    """Run the hutong command against the node; what it prints with --json."""
    command = [sys.executable, "-m", "hutong_client", *arguments, "--json"]
    done = subprocess.run(command, env=node.environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != exit_code:
        raise StoryDiffers(f"hutong {' '.join(arguments)} exited {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def tell(text: str) -> None:
    """Say what comes next."""
    print(f"\n{text}", flush=True)
