"""Addresses of servers: host:port."""

from __future__ import annotations

import ipaddress


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of "host:port" or "[v6]:port"; ValueError if the text is neither."""
    host, colon, port = address.rpartition(":")
    if not colon or not _is_host(host) or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError("must be host:port")
    return host.strip("[]"), int(port)


def _is_host(text: str) -> bool:
    """Whether a text may be a host: a name, an IPv4 address, or an IPv6 address in brackets. A URL is no host."""
    if text.startswith("[") and text.endswith("]"):
        try:
            ipaddress.IPv6Address(text[1:-1])
        except ValueError:
            return False
        return True
    return bool(text) and not any(one in ":/[]" or one.isspace() for one in text)


def port_after(address: str) -> str:
    """Return an address with its next port, because Policy's default port is the next after that of Results."""
    host, colon, port = address.rpartition(":")
    return f"{host}:{int(port) + 1}" if colon and port.isascii() and port.isdigit() else ""


def is_same_server(address: str, other: str) -> bool:
    """Whether two addresses certainly belong to one server."""
    if is_loopback(address) and is_loopback(other):
        return split_address(address)[1] == split_address(other)[1] != 0
    return address == other


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine only."""
    host, _ = split_address(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
