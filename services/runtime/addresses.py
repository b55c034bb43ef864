"""Addresses of servers: host:port, or unix:/path."""

from __future__ import annotations

import ipaddress

from hutong_texts import english

MAX_SOCKET_PATH = 100
"""The most bytes in the path of a unix socket. The system allows 108 on Linux and 104 elsewhere."""
_LAST_PORT = 65_535


def socket_path(address: str) -> str:
    """Return the path of "unix:/path"; empty for another address.

    Raises:
        ValueError: the path is relative or too long.
    """
    scheme, colon, path = address.partition(":")
    if scheme != "unix" or not colon:
        return ""
    if not path.startswith("/") or len(path.encode()) > MAX_SOCKET_PATH or not path.isprintable():
        raise ValueError(english("must be unix: and an absolute path of at most {most} bytes", most=MAX_SOCKET_PATH))
    return path


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of "host:port" or "[v6]:port". Raises ValueError for any other text."""
    host, colon, port = address.rpartition(":")
    if not colon or not _is_host(host) or not port.isascii() or not port.isdigit():
        raise ValueError(english("must be host:port, with an IPv6 address in brackets: [::1]:50051"))
    if int(port) > _LAST_PORT:
        raise ValueError(english("must have a port of at most {most}, not {port}", most=_LAST_PORT, port=port))
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
    """Return an address with the next higher port. By default, Policy has the port after the port of Results."""
    host, colon, port = address.rpartition(":")
    return f"{host}:{int(port) + 1}" if colon and port.isascii() and port.isdigit() else ""


def is_same_server(address: str, other: str) -> bool:
    """Whether two addresses certainly belong to the same server."""
    are_sockets = bool(socket_path(address) or socket_path(other))
    if not are_sockets and is_loopback(address) and is_loopback(other):
        return split_address(address)[1] == split_address(other)[1] != 0
    return address == other


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if socket_path(address):
        return True
    host, _ = split_address(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
