"""The addresses of a node of the examples."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from clients.examples.node import PORTS, free_addresses

OWN_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.mark.skipif(not OWN_PORTS.exists(), reason="only Linux tells which ports it gives by itself")
def test_no_port_is_one_that_the_system_gives_by_itself() -> None:
    """Another program would get such a port between the choice and the start of the service."""
    first, last = map(int, OWN_PORTS.read_text().split())
    assert not set(PORTS) & set(range(first, last + 1))


def test_addresses_differ_and_are_free() -> None:
    addresses = [address.rpartition(":") for address in free_addresses().values()]
    assert len(set(addresses)) == 3
    for host, _, port in addresses:
        with socket.create_server((host, int(port))):
            assert int(port) in PORTS
