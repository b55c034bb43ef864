"""Starts the node that a bench measures, as an operator would: in real processes, on the bench's own databases."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hutong_client import Tls

from clients.examples.node import Node, running_node
from tests.support.secrets import write_secret

PEPPER = b"b" * 32
"""The secret of the bench's nodes."""
PEPPER_FILE = "bench-pepper"


@contextmanager
def bench_node(
    directory: Path, urls: Mapping[str, str], variables: Mapping[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """Run the services that have a database in `urls` until the block ends. Yields all addresses by name.

    The node is Henan's unless `variables` sets another HUTONG_JURISDICTION.
    """
    with bench_processes(directory, urls, variables) as node:
        yield node.addresses


@contextmanager
def bench_processes(
    directory: Path, urls: Mapping[str, str], variables: Mapping[str, str] | None = None, tls: Tls | None = None
) -> Iterator[Node]:
    """Run the same services as `bench_node`, but yield the node, which also knows its processes.

    `tls` are the files for health checks of a node that serves TLS.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pepper = write_secret(directory / PEPPER_FILE, PEPPER)
    settings = {"HUTONG_PEPPER_FILE": str(pepper), "HUTONG_JURISDICTION": "410000"} | dict(variables or {})
    settings |= {f"HUTONG_{name.upper()}_DATABASE_URL": url for name, url in urls.items()}
    with running_node(directory, services=list(urls), variables=settings, tls=tls) as node:
        yield node


def bench_variables(directory: Path) -> dict[str, str]:
    """Return the environment of a further process of a node in plain text that runs in a directory."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HUTONG_")}
    return own | {
        "HUTONG_DATA_DIR": str(directory),
        "HUTONG_INSECURE": "1",
        "HUTONG_PEPPER_FILE": str(directory / PEPPER_FILE),
        "HUTONG_JURISDICTION": "410000",
    }
