"""The node that a bench measures: real processes, started as an operator would, on the bench's own databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from clients.examples.node import Node, running_node

PEPPER = b"b" * 32
"""The secret of the bench's nodes."""


@contextmanager
def bench_node(
    directory: Path, urls: Mapping[str, str], variables: Mapping[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """Run the services that are given databases until the block ends; yields all addresses by name.

    A node of Henan, unless settings by their HUTONG_ names say otherwise.
    """
    with bench_processes(directory, urls, variables) as node:
        yield node.addresses


@contextmanager
def bench_processes(
    directory: Path, urls: Mapping[str, str], variables: Mapping[str, str] | None = None
) -> Iterator[Node]:
    """As `bench_node`; yields the node, of which also the processes are known."""
    directory.mkdir(parents=True, exist_ok=True)
    pepper = directory / "bench-pepper"
    pepper.write_bytes(PEPPER)
    settings = {"HUTONG_PEPPER_FILE": str(pepper), "HUTONG_JURISDICTION": "410000"} | dict(variables or {})
    settings |= {f"HUTONG_{name.upper()}_DATABASE_URL": url for name, url in urls.items()}
    with running_node(directory, services=list(urls), variables=settings) as node:
        yield node
