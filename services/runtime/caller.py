"""The caller of a call: its role, its name, and the person for whom it acts."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.instant import Instant

LOCAL = "local"
"""The role of every caller of a plain-text server on loopback. It may do everything."""
EDGE = "edge"
"""The role of a proxy that sent no token. It may do nothing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller as its certificate and its token describe it.

    Attributes:
        role: the name of a role of `hutong.access.v1.Role` in lower case and without its prefix, LOCAL or EDGE; empty
            for a caller that is not known.
        name: the resource name, such as "labs/91410100MA0000001X"; empty for a caller that is not known.
        region: the caller's region; empty for a role without one.
        peer: the address of the connection's other end, as gRPC states it.
        certificate_hash: SHA-256 of the certificate in DER, as hexadecimal; empty without a certificate.
        certificate_name: the name in the certificate. Behind an edge proxy it differs from `name`.
        serial: the serial number of the certificate; 0 without one.
        expire_time: when the certificate or the token expires, whichever is earlier; None for a local caller.
        person: the hash of the person behind the token (its issuer's `sub`); empty without one.
        user: the subject key of the person who signed in at the calling application; None without one.
        other_documents: the subject keys of the person's other documents, as the token names them.
        other_keys: the keys of all documents of the user under the other key version, while the pepper rotates. Stored
            objects may have either key.
        fault: why the caller is not known; empty for a known caller.
    """

    role: str
    name: str = ""
    region: str = ""
    peer: str = ""
    certificate_hash: str = ""
    certificate_name: str = ""
    serial: int = 0
    expire_time: Instant | None = None
    user: bytes | None = None
    other_documents: tuple[bytes, ...] = ()
    fault: str = ""
    person: str = ""
    other_keys: tuple[bytes, ...] = ()
