"""Certificates for the servers and callers of tests, made by the code of `make certs`."""

from __future__ import annotations

from clients.examples.certificates import TRUST_DOMAIN, Authority, Certificate

__all__ = ["TRUST_DOMAIN", "Authority", "Certificate", "spiffe"]


def spiffe(name: str) -> str:
    """Return the SPIFFE ID of a caller's name, such as "labs/91410100MA0000001X"."""
    return f"spiffe://{TRUST_DOMAIN}/{name}"
