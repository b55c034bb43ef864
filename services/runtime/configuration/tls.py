"""The settings of transport security."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hutong_texts import english

from services.runtime.configuration.variables import BadSetting, read_file, variable


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Transport security. Without any file the transport is plain text, which needs loopback and HUTONG_INSECURE."""

    certificate_file: Path | None = variable(
        english("PEM certificate chain of this node, as a server and as a client"), read_file, optional=True
    )
    key_file: Path | None = variable(english("PEM private key of the certificate"), read_file, optional=True)
    client_ca_file: Path | None = variable(
        english("PEM authorities of the client certificates that callers must show (mutual TLS)"),
        read_file,
        optional=True,
    )
    node_ca_file: Path | None = variable(
        english("PEM authorities of the certificates of nodes; each must have signed them itself"),
        read_file,
        default_words=english("none: no certificate is a node's"),
        optional=True,
    )
    server_ca_file: Path | None = variable(
        english("PEM authorities that this node trusts to certify the servers it calls"),
        read_file,
        default_words=english("the system's"),
        optional=True,
    )

    @property
    def serves_tls(self) -> bool:
        """Whether this node's servers use TLS."""
        return self.certificate_file is not None

    @property
    def calls_tls(self) -> bool:
        """Whether this node calls other services and nodes over TLS."""
        return self.serves_tls or self.server_ca_file is not None

    def check(self) -> None:
        """Check that every given file comes with the files that it needs.

        Raises:
            BadSetting: a file is given without another file that it needs.
        """
        if (self.certificate_file is None) != (self.key_file is None):
            raise BadSetting(english("HUTONG_TLS_CERTIFICATE_FILE and HUTONG_TLS_KEY_FILE go together: set both"))
        if self.client_ca_file is not None and not self.serves_tls:
            raise BadSetting(english("HUTONG_TLS_CLIENT_CA_FILE needs HUTONG_TLS_CERTIFICATE_FILE"))
        if self.node_ca_file is not None and self.client_ca_file is None:
            raise BadSetting(english("HUTONG_TLS_NODE_CA_FILE needs HUTONG_TLS_CLIENT_CA_FILE"))
