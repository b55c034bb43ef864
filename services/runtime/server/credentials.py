"""The keys and authorities of a server's TLS. They can change while the server runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import grpc
from prometheus_client import Gauge

from services.runtime.certificates import check_tls_files, read_certificates, require_private_tls_files
from services.runtime.configuration.tls import TlsSettings
from services.runtime.reloading import ReloadedFiles

EXPIRY = Gauge(
    "hutong_certificate_expiry_timestamp_seconds", "When the first certificate in a file of TLS expires", ["setting"]
)


class ServerCredentials:
    """Gives each new connection the newest keys and authorities. Open connections keep theirs.

    Attributes:
        files: the files, which are read again when they change.

    Raises:
        BadSetting: the files cannot be used.
    """

    def __init__(self, tls: TlsSettings) -> None:
        self._tls = tls
        self._newest: grpc.ServerCertificateConfiguration | None = None
        files = (tls.certificate_file, tls.key_file, tls.client_ca_file, tls.node_ca_file)
        self.files = ReloadedFiles(
            "HUTONG_TLS_CERTIFICATE_FILE", [one for one in files if one is not None], self._load, self._use
        )

    def for_grpc(self) -> grpc.ServerCredentials:
        """Return the credentials with which gRPC binds a port."""
        first = self._take()
        assert first is not None
        # gRPC takes None for "no change". The type stubs do not know that.
        take = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._take)
        asks_callers = self._tls.client_ca_file is not None
        return grpc.dynamic_ssl_server_credentials(first, take, require_client_authentication=asks_callers)

    def _take(self) -> grpc.ServerCertificateConfiguration | None:
        """Return new credentials if the files have changed since the last connection, else None.

        A thread of gRPC calls this.
        """
        newest, self._newest = self._newest, None
        return newest

    def _load(self) -> grpc.ServerCertificateConfiguration:
        tls = self._tls
        require_private_tls_files(tls)
        check_tls_files(tls)
        _note_expiry(tls)
        assert tls.certificate_file is not None
        assert tls.key_file is not None
        client_ca = tls.client_ca_file.read_bytes() if tls.client_ca_file else None
        if client_ca is not None and tls.node_ca_file is not None:
            # gRPC verifies all clients against one bundle of authorities. `Certificates` then checks which authority
            # signed a node's certificate.
            client_ca += b"\n" + tls.node_ca_file.read_bytes()
        return grpc.ssl_server_certificate_configuration(
            [(tls.key_file.read_bytes(), tls.certificate_file.read_bytes())], root_certificates=client_ca
        )

    def _use(self, configuration: grpc.ServerCertificateConfiguration) -> None:
        self._newest = configuration


def _note_expiry(tls: TlsSettings) -> None:
    for setting, file in (
        ("HUTONG_TLS_CERTIFICATE_FILE", tls.certificate_file),
        ("HUTONG_TLS_CLIENT_CA_FILE", tls.client_ca_file),
        ("HUTONG_TLS_NODE_CA_FILE", tls.node_ca_file),
    ):
        if file is not None:
            ends = [one.not_valid_after_utc.timestamp() for one in read_certificates(setting, file)]
            EXPIRY.labels(setting).set(min(ends))
