"""Nodes as the examples run them, whose processes are forks and start in a fraction of a second."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from clients.examples.node import SERVICES, Node
from tests.support.ports import free_addresses
from tests.support.preloaded import fork_hutongd
from tests.support.processes import PATIENT


class ForkedNode(Node):
    """A node whose processes are forks."""

    def spawn(self, service: str, environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Fork the process of a service without waiting for it."""
        fork = fork_hutongd(["serve", service], environment, stdout=log, stderr=log)
        return cast("subprocess.Popen[bytes]", fork)


@contextlib.contextmanager
def forked_node(
    directory: Path, services: Sequence[str] = SERVICES, variables: Mapping[str, str] | None = None
) -> Iterator[Node]:
    """Run a node, or some of its services, on free ports until the block ends."""
    node = ForkedNode(directory, free_addresses(), PATIENT | dict(variables or {}))
    try:
        node.start(*services)
        yield node
    finally:
        node.stop()
