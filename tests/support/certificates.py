"""Makes certificate authorities and certificates with the openssl command, for each run."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    def pem(self) -> tuple[bytes, bytes]:
        """Return key and certificate, in the order that gRPC expects."""
        return self.key.read_bytes(), self.certificate.read_bytes()


class Authority:
    """A certificate authority whose certificates are valid for a day."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self.root = self._make(name, "-x509", "-addext", "basicConstraints=critical,CA:TRUE")

    def sign(self, name: str, dns: str = "localhost") -> Certificate:
        """Make a certificate for a server at 127.0.0.1 or for a client, with one more DNS name."""
        return self._make(
            name,
            "-x509",
            "-addext",
            f"subjectAltName=IP:127.0.0.1,DNS:{dns}",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-CA",
            str(self.root.certificate),
            "-CAkey",
            str(self.root.key),
        )

    def _make(self, name: str, *options: str) -> Certificate:
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        command = [
            "openssl",
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
        ]
        files = ["-subj", f"/CN={name}", "-keyout", str(made.key), "-out", str(made.certificate)]
        subprocess.run([*command, *files, *options], check=True, capture_output=True, timeout=30)
        return made
