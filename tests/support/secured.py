"""A Results that serves with the certificates of `make certs`, as docs/tls.md shows it to clients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import grpc
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub

from clients.examples.certificates import make_all
from tests.support.processes import daemon
from tests.support.results.factories import LAB_NAME, lab_to_register
from tests.support.secrets import write_secret
from tests.support.waiting import TIMEOUT_SECONDS

__all__ = ["LAB_NAME", "secured_results"]


@contextlib.contextmanager
def secured_results(directory: Path) -> Iterator[str]:
    """Serve with one laboratory, and with certificates in `.hutong/certs` of the directory. Yield the address."""
    certs = directory / ".hutong/certs"
    make_all(certs)
    variables = {
        "results_address": "127.0.0.1:0",
        "results_database_url": f"sqlite:///{directory}/results.db",
        "data_dir": str(directory),
        "pepper_file": str(write_secret(directory / "pepper-of-tests")),
        "jurisdiction": "410000",
        "upload_workers": "0",
        "tls_certificate_file": str(certs / "node.pem"),
        "tls_key_file": str(certs / "node.key"),
        "tls_client_ca_file": str(certs / "client-ca.pem"),
        "tls_node_ca_file": str(certs / "node-ca.pem"),
    }
    root, key, chain = ((certs / name).read_bytes() for name in ("node-ca.pem", "operator.key", "operator.pem"))
    with daemon("serve", "results", **variables) as results:
        credentials = grpc.ssl_channel_credentials(root, key, chain)
        with grpc.secure_channel(results.address, credentials) as channel:
            LabServiceStub(channel).CreateLab(CreateLabRequest(lab=lab_to_register()), timeout=TIMEOUT_SECONDS)
        yield results.address.replace("127.0.0.1", "localhost")
