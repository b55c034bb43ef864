"""A typed asyncio connection to one node, with a stub for each of its services."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack, cast

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

from hutong_client.aio.calls import Channel
from hutong_client.calls import CallOptions, ConnectOptions
from hutong_client.connection import Tls, channel_options, find_addresses

if TYPE_CHECKING:
    from hutong.approval.v1.approval_service_pb2_grpc import ApprovalServiceAsyncStub
    from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceAsyncStub
    from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceAsyncStub
    from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceAsyncStub
    from hutong.results.v1.document_link_service_pb2_grpc import DocumentLinkServiceAsyncStub
    from hutong.results.v1.import_service_pb2_grpc import ImportServiceAsyncStub
    from hutong.results.v1.lab_service_pb2_grpc import LabServiceAsyncStub
    from hutong.results.v1.legal_hold_service_pb2_grpc import LegalHoldServiceAsyncStub
    from hutong.results.v1.missing_report_service_pb2_grpc import MissingReportServiceAsyncStub
    from hutong.results.v1.results_admin_service_pb2_grpc import ResultsAdminServiceAsyncStub
    from hutong.results.v1.results_service_pb2_grpc import ResultsServiceAsyncStub
    from hutong.results.v1.timeliness_service_pb2_grpc import TimelinessServiceAsyncStub
    from hutong.results.v1.upload_service_pb2_grpc import UploadServiceAsyncStub
    from hutong.verification.v1.evidence_case_service_pb2_grpc import EvidenceCaseServiceAsyncStub
    from hutong.verification.v1.evidence_flag_service_pb2_grpc import EvidenceFlagServiceAsyncStub
    from hutong.verification.v1.holder_token_service_pb2_grpc import HolderTokenServiceAsyncStub
    from hutong.verification.v1.refusal_service_pb2_grpc import RefusalServiceAsyncStub
    from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceAsyncStub


class Connection:
    """The services of a node for asyncio. A channel is opened when it is first used.

    Without `tls` the connection is plain text. Every call that fails raises a subclass of `hutong_client.HutongError`.
    Use the connection inside `async with`, or call `close`.
    """

    def __init__(
        self,
        results_address: str,
        policy_address: str,
        verification_address: str,
        tls: Tls | None = None,
        options: CallOptions | None = None,
    ) -> None:
        self.results_address = results_address
        self.policy_address = policy_address
        self.verification_address = verification_address
        self.tls = tls
        self.options = options or CallOptions()
        self._open: list[Channel] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._open:
            await channel.close()

    @cached_property
    def labs(self) -> LabServiceAsyncStub:
        """The register of laboratories."""
        return LabServiceStub(self._results)

    @cached_property
    def uploads(self) -> UploadServiceAsyncStub:
        """Uploads. `UploadSession` resumes an upload after transient failures."""
        return UploadServiceStub(self._results)

    @cached_property
    def results(self) -> ResultsServiceAsyncStub:
        """Results: look-ups, lists and watches."""
        return ResultsServiceStub(self._results)

    @cached_property
    def links(self) -> DocumentLinkServiceAsyncStub:
        """The linked documents of a person."""
        return DocumentLinkServiceStub(self._results)

    @cached_property
    def legal_holds(self) -> LegalHoldServiceAsyncStub:
        """Legal holds, which keep results from being destroyed."""
        return LegalHoldServiceStub(self._results)

    @cached_property
    def missing_reports(self) -> MissingReportServiceAsyncStub:
        """Missing reports: holders have shown them, and no laboratory has uploaded them."""
        return MissingReportServiceStub(self._results)

    @cached_property
    def imports(self) -> ImportServiceAsyncStub:
        """Imports of results from other nodes."""
        return ImportServiceStub(self._results)

    @cached_property
    def results_admin(self) -> ResultsAdminServiceAsyncStub:
        """Corrections and recalls."""
        return ResultsAdminServiceStub(self._results)

    @cached_property
    def timeliness(self) -> TimelinessServiceAsyncStub:
        """Timeliness of laboratories' uploads."""
        return TimelinessServiceStub(self._results)

    @cached_property
    def exchange(self) -> ExchangeServiceAsyncStub:
        """The exchange between nodes. Operators call ListNodes to see the backlog of each province."""
        return ExchangeServiceStub(self._results)

    @cached_property
    def policies(self) -> PolicyServiceAsyncStub:
        """Policies: reads, resolution and watches."""
        return PolicyServiceStub(self._policy)

    @cached_property
    def policy_admin(self) -> PolicyAdminServiceAsyncStub:
        """Publication and withdrawal of policies."""
        return PolicyAdminServiceStub(self._policy)

    @cached_property
    def verification(self) -> VerificationServiceAsyncStub:
        """Decisions: whether a person's result is recognised in a region, for a purpose, at an instant."""
        return VerificationServiceStub(self._verification)

    @cached_property
    def holder_tokens(self) -> HolderTokenServiceAsyncStub:
        """Tokens that a holder shows in place of the document number and the name."""
        return HolderTokenServiceStub(self._verification)

    @cached_property
    def cases(self) -> EvidenceCaseServiceAsyncStub:
        """Cases of evidence that officers examine."""
        return EvidenceCaseServiceStub(self._verification)

    @cached_property
    def evidence_flags(self) -> EvidenceFlagServiceAsyncStub:
        """Reports shown as evidence that an officer ought to examine."""
        return EvidenceFlagServiceStub(self._verification)

    @cached_property
    def refusals(self) -> RefusalServiceAsyncStub:
        """Reported refusals."""
        return RefusalServiceStub(self._verification)

    @cached_property
    def result_approvals(self) -> ApprovalServiceAsyncStub:
        """Pending changes of Results, which wait for another caller's approval: recalls and unlinkings."""
        return ApprovalServiceStub(self._results)

    @cached_property
    def policy_approvals(self) -> ApprovalServiceAsyncStub:
        """Pending changes of Policy, which wait for another caller's approval: floors and withdrawals of floors."""
        return ApprovalServiceStub(self._policy)

    @cached_property
    def _results(self) -> grpc.aio.Channel:
        return self._channel(self.results_address)

    @cached_property
    def _policy(self) -> grpc.aio.Channel:
        return self._channel(self.policy_address)

    @cached_property
    def _verification(self) -> grpc.aio.Channel:
        return self._channel(self.verification_address)

    def _channel(self, address: str) -> grpc.aio.Channel:
        chosen = self.options
        options = channel_options(chosen)
        if self.tls:
            opened = grpc.aio.secure_channel(
                address, self.tls.credentials(), options, chosen.compression, chosen.interceptors
            )
        else:
            opened = grpc.aio.insecure_channel(address, options, chosen.compression, chosen.interceptors)
        channel = Channel(opened, chosen)
        self._open.append(channel)
        # Stubs use only the four methods that the class Channel has.
        return cast("grpc.aio.Channel", channel)


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

    `hutong_client.calls.CallOptions` documents the other arguments.
    """
    addresses = find_addresses(results, policy, verification, environment)
    return Connection(*addresses, tls=tls or Tls.from_environment(environment), options=CallOptions(**options))
