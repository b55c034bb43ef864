"""A typed connection to one node, with a stub for each of its services."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import grpc
from hutong.approval.v1.approval_service_pb2_grpc import ApprovalServiceStub
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from hutong.results.v1.document_link_service_pb2_grpc import DocumentLinkServiceStub
from hutong.results.v1.import_service_pb2_grpc import ImportServiceStub
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.legal_hold_service_pb2_grpc import LegalHoldServiceStub
from hutong.results.v1.missing_report_service_pb2_grpc import MissingReportServiceStub
from hutong.results.v1.results_admin_service_pb2_grpc import ResultsAdminServiceStub
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.results.v1.timeliness_service_pb2_grpc import TimelinessServiceStub
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from hutong.verification.v1.evidence_case_service_pb2_grpc import EvidenceCaseServiceStub
from hutong.verification.v1.evidence_flag_service_pb2_grpc import EvidenceFlagServiceStub
from hutong.verification.v1.holder_token_service_pb2_grpc import HolderTokenServiceStub
from hutong.verification.v1.refusal_service_pb2_grpc import RefusalServiceStub
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub

from hutong_client.calls import CallOptions, Calls, ConnectOptions

DEFAULT_ADDRESSES: Mapping[str, str] = {
    "results": "127.0.0.1:50051",
    "policy": "127.0.0.1:50052",
    "verification": "127.0.0.1:50053",
}
CALL_SECONDS = 30.0
"""Timeout of the calls that the library and the command make themselves. No call to a working service takes as long."""
_TABLE = json.loads((files("hutong") / "service-config.json").read_text(encoding="utf-8"))
"""The channel options and the retries, the same for the clients in every language. The table is generated from the
contract."""
MAX_MESSAGE_BYTES: int = _TABLE["channel"]["maxMessageBytes"]
"""The services' limit for one message."""


def channel_options(options: CallOptions | None = None) -> list[tuple[str, int | str]]:
    """Return gRPC's options of a channel to a service.

    Repeatable calls are tried up to four times while the service is UNAVAILABLE, after the delay that the service asks
    for. A change is repeatable because of its request_id. A request without a request_id gets one. A unary call of any
    kind is tried again if a stopping server cancels it, because the server has not begun it.
    """
    options = options or CallOptions()
    channel = _TABLE["channel"]
    service_config = json.loads(json.dumps(_TABLE["serviceConfig"]))
    chosen: list[tuple[str, int | str]] = []
    if options.attempts == 1:
        chosen.append(("grpc.enable_retries", 0))
    elif options.attempts is not None:
        for method in service_config["methodConfig"]:
            method["retryPolicy"]["maxAttempts"] = options.attempts
    if options.proxy == "":
        chosen.append(("grpc.enable_http_proxy", 0))
    elif options.proxy is not None:
        chosen.append(("grpc.http_proxy", options.proxy))
    return [
        *chosen,
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", channel["keepaliveTimeMillis"]),
        ("grpc.keepalive_timeout_ms", channel["keepaliveTimeoutMillis"]),
        # Despite its name, the option says how long one attempt to connect may take.
        ("grpc.min_reconnect_backoff_ms", channel["connectTimeoutMillis"]),
        ("grpc.initial_reconnect_backoff_ms", channel["initialReconnectBackoffMillis"]),
        ("grpc.max_reconnect_backoff_ms", channel["maxReconnectBackoffMillis"]),
        ("grpc.service_config", json.dumps(service_config)),
    ]


@dataclass(frozen=True, slots=True)
class Tls:
    """The paths of TLS files in PEM.

    Attributes:
        ca_file: the trusted authorities; None for the authorities that the system trusts.
        certificate_file: the client's certificate chain, for mutual TLS.
        key_file: the private key of the certificate.
    """

    ca_file: str | Path | None = None
    certificate_file: str | Path | None = None
    key_file: str | Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Tls | None:
        """Read HUTONG_TLS_SERVER_CA_FILE, HUTONG_TLS_CERTIFICATE_FILE and HUTONG_TLS_KEY_FILE; None if none is set."""
        names = ("HUTONG_TLS_SERVER_CA_FILE", "HUTONG_TLS_CERTIFICATE_FILE", "HUTONG_TLS_KEY_FILE")
        files = [Path(value) if (value := environment.get(name)) else None for name in names]
        return cls(*files) if any(files) else None

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials; raise OSError if a file cannot be read."""
        ca, key, certificate = (
            Path(file).read_bytes() if file else None for file in (self.ca_file, self.key_file, self.certificate_file)
        )
        return grpc.ssl_channel_credentials(ca, key, certificate)


@dataclass(frozen=True)
class Connection:
    """The services of a node. A channel is opened when it is first used, and closed with the connection.

    Without `tls` the connection is plain text. Every call that fails raises a subclass of `hutong_client.HutongError`.
    """

    results_address: str = DEFAULT_ADDRESSES["results"]
    policy_address: str = DEFAULT_ADDRESSES["policy"]
    verification_address: str = DEFAULT_ADDRESSES["verification"]
    tls: Tls | None = None
    options: CallOptions = field(default_factory=CallOptions, repr=False)
    _open: ExitStack = field(default_factory=ExitStack, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channels."""
        self._open.close()

    @cached_property
    def labs(self) -> LabServiceStub:
        """The register of laboratories."""
        return LabServiceStub(self._results)

    @cached_property
    def uploads(self) -> UploadServiceStub:
        """Uploads. `UploadSession` resumes an upload after transient failures."""
        return UploadServiceStub(self._results)

    @cached_property
    def results(self) -> ResultsServiceStub:
        """Results: look-ups, lists and watches."""
        return ResultsServiceStub(self._results)

    @cached_property
    def links(self) -> DocumentLinkServiceStub:
        """The linked documents of a person."""
        return DocumentLinkServiceStub(self._results)

    @cached_property
    def legal_holds(self) -> LegalHoldServiceStub:
        """Legal holds, which keep results from being destroyed."""
        return LegalHoldServiceStub(self._results)

    @cached_property
    def missing_reports(self) -> MissingReportServiceStub:
        """Missing reports: holders have shown them, and no laboratory has uploaded them."""
        return MissingReportServiceStub(self._results)

    @cached_property
    def imports(self) -> ImportServiceStub:
        """Imports of results from other nodes."""
        return ImportServiceStub(self._results)

    @cached_property
    def results_admin(self) -> ResultsAdminServiceStub:
        """Corrections and recalls."""
        return ResultsAdminServiceStub(self._results)

    @cached_property
    def timeliness(self) -> TimelinessServiceStub:
        """Timeliness of laboratories' uploads."""
        return TimelinessServiceStub(self._results)

    @cached_property
    def exchange(self) -> ExchangeServiceStub:
        """The exchange between nodes. Operators call ListNodes to see the backlog of each province."""
        return ExchangeServiceStub(self._results)

    @cached_property
    def policies(self) -> PolicyServiceStub:
        """Policies: reads, resolution and watches."""
        return PolicyServiceStub(self._policy)

    @cached_property
    def policy_admin(self) -> PolicyAdminServiceStub:
        """Publication and withdrawal of policies."""
        return PolicyAdminServiceStub(self._policy)

    @cached_property
    def verification(self) -> VerificationServiceStub:
        """Decisions: whether a person's result is recognised in a region, for a purpose, at an instant."""
        return VerificationServiceStub(self._verification)

    @cached_property
    def holder_tokens(self) -> HolderTokenServiceStub:
        """Tokens that a holder shows in place of the document number and the name."""
        return HolderTokenServiceStub(self._verification)

    @cached_property
    def cases(self) -> EvidenceCaseServiceStub:
        """Cases of evidence that officers examine."""
        return EvidenceCaseServiceStub(self._verification)

    @cached_property
    def evidence_flags(self) -> EvidenceFlagServiceStub:
        """Reports shown as evidence that an officer ought to examine."""
        return EvidenceFlagServiceStub(self._verification)

    @cached_property
    def refusals(self) -> RefusalServiceStub:
        """Reported refusals."""
        return RefusalServiceStub(self._verification)

    @cached_property
    def result_approvals(self) -> ApprovalServiceStub:
        """Pending changes of Results, which wait for another caller's approval: recalls and unlinkings."""
        return ApprovalServiceStub(self._results)

    @cached_property
    def policy_approvals(self) -> ApprovalServiceStub:
        """Pending changes of Policy, which wait for another caller's approval: floors and withdrawals of floors."""
        return ApprovalServiceStub(self._policy)

    @cached_property
    def _results(self) -> grpc.Channel:
        return self._channel(self.results_address)

    @cached_property
    def _policy(self) -> grpc.Channel:
        return self._channel(self.policy_address)

    @cached_property
    def _verification(self) -> grpc.Channel:
        return self._channel(self.verification_address)

    def _channel(self, address: str) -> grpc.Channel:
        options, compression = channel_options(self.options), self.options.compression
        if self.tls:
            channel = grpc.secure_channel(address, self.tls.credentials(), options, compression)
        else:
            channel = grpc.insecure_channel(address, options, compression)
        self._open.callback(channel.close)
        return grpc.intercept_channel(channel, Calls(self.options), *self.options.interceptors)


def connect(
    results: str | None = None,
    policy: str | None = None,
    verification: str | None = None,
    tls: Tls | None = None,
    environment: Mapping[str, str] = os.environ,
    **options: Unpack[ConnectOptions],
) -> Connection:
    """Connect to a node.

    Missing arguments are taken from the variables HUTONG_*_ADDRESS and HUTONG_TLS_*, else from the local defaults.

    `CallOptions` documents the other arguments.
    """
    addresses = find_addresses(results, policy, verification, environment)
    return Connection(*addresses, tls=tls or Tls.from_environment(environment), options=CallOptions(**options))


def find_addresses(
    results: str | None, policy: str | None, verification: str | None, environment: Mapping[str, str]
) -> tuple[str, str, str]:
    """Return the addresses of the three services: those given, else the environment's, else the defaults."""
    given = {"results": results, "policy": policy, "verification": verification}
    found = [
        address or environment.get(f"HUTONG_{service.upper()}_ADDRESS") or DEFAULT_ADDRESSES[service]
        for service, address in given.items()
    ]
    return found[0], found[1], found[2]
