"""Addresses for processes that are told where to listen, and for services that come back where they were."""

from __future__ import annotations

import itertools
import os
import random
import socket

SERVICES = ("results", "policy", "verification")
FIRST, OF_A_WORKER = 20_000, 1_500
"""Below the ports that outgoing connections are given, and for each worker of pytest-xdist its own: up to eight."""

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8
_ports = itertools.cycle(range(FIRST + _worker * OF_A_WORKER, FIRST + (_worker + 1) * OF_A_WORKER))
# Another run of the tests on the same machine begins elsewhere.
for _ in range(random.randrange(OF_A_WORKER)):
    next(_ports)


def free_address() -> str:
    """A free loopback port that no outgoing connection is given: it is still free whenever a service restarts."""
    for port in _ports:
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        return f"127.0.0.1:{port}"
    raise AssertionError("a cycle has no end")


def free_addresses() -> dict[str, str]:
    """A free address for each service of a node."""
    return {service: free_address() for service in SERVICES}
