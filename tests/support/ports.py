"""Chooses free addresses for processes that need one before they start, and for services that restart on it."""

from __future__ import annotations

import itertools
import os
import random

from clients.examples.node import SERVICES, first_free_address

FIRST, PORTS_PER_WORKER = 20_000, 1_500
"""Each of up to eight workers of pytest-xdist has its own range. All lie below the ports of outgoing connections."""

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8
_ports = itertools.cycle(range(FIRST + _worker * PORTS_PER_WORKER, FIRST + (_worker + 1) * PORTS_PER_WORKER))
# The random start keeps parallel runs on one machine apart.
for _ in range(random.randrange(PORTS_PER_WORKER)):
    next(_ports)


def free_address() -> str:
    """Return a free address on loopback. No outgoing connection takes its port, so a service can restart on it."""
    return first_free_address(_ports)


def free_addresses() -> dict[str, str]:
    """Return a free address for each service of a node."""
    return {service: free_address() for service in SERVICES}
