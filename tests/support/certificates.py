"""Certificates for the servers and callers of tests, made by the code of `make certs`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from clients.examples import certificates
from clients.examples.certificates import TRUST_DOMAIN, Certificate

__all__ = ["TRUST_DOMAIN", "Authority", "Certificate", "spiffe"]


class Authority(certificates.Authority):
    """A certificate authority whose certificates hold for a day.

    `above` signs the authority's own certificate; without it the authority signs itself.
    """

    def __init__(self, directory: Path, name: str, above: Authority | None = None) -> None:
        super().__init__(directory, name, dt.timedelta(days=1), depth=int(above is None), above=above)

    def sign_with_chain(self, name: str, *uris: str) -> Certificate:
        """Make a certificate for a caller. Its file contains the authority's own certificate too."""
        signed = self.sign(name, *uris)
        signed.certificate.write_bytes(signed.certificate.read_bytes() + self.root.certificate.read_bytes())
        return signed


def spiffe(name: str) -> str:
    """Return the SPIFFE ID of a caller's name, such as "labs/91410100MA0000001X"."""
    return f"spiffe://{TRUST_DOMAIN}/{name}"
