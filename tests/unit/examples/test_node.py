"""The addresses of a node of the examples."""

from __future__ import annotations

import socket

import pytest

from clients.examples.node import PORTS, first_free_address, free_addresses


def test_addresses_differ_and_are_free() -> None:
    addresses = [address.rpartition(":") for address in free_addresses().values()]
    assert len(set(addresses)) == 3
    for host, _, port in addresses:
        with socket.create_server((host, int(port))):
            assert int(port) in PORTS


def test_a_port_that_is_taken_is_passed_over() -> None:
    """If all ports are taken, the error says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="no port is free"):
            first_free_address(iter([port]))
        free = free_addresses()["results"]
        assert first_free_address(iter([port, int(free.rpartition(":")[2])])) == free
