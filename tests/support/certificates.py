"""Certificates for the servers and callers of tests, made by the code of `make certs`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from clients.examples import certificates
from clients.examples.certificates import TRUST_DOMAIN, Certificate

__all__ = ["TRUST_DOMAIN", "Authority", "Certificate", "spiffe"]


class Authority(certificates.Authority):
    """A certificate authority whose certificates hold for a day."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(directory, name, dt.timedelta(days=1))


def spiffe(name: str) -> str:
    """Return the SPIFFE ID of a caller's name, such as "labs/91410100MA0000001X"."""
    return f"spiffe://{TRUST_DOMAIN}/{name}"
