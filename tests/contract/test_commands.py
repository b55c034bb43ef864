"""Every RPC that a person uses has a command of `hutong`, or a reason why it has none."""

from __future__ import annotations

import re
from pathlib import Path

import click
import hutong_client
import pytest
from google.protobuf.descriptor import MethodDescriptor
from hutong.access.v1 import access_pb2
from hutong_client.cli.main import hutong
from hutong_client.cli.options import NodeCommand

from tests.support.access.methods import METHODS

PROGRAMS = {access_pb2.ROLE_NODE, access_pb2.ROLE_VERIFICATION}
"""The roles of nodes and services. All other roles are those of people and of the programs that people use."""
COMMANDS = {
    "approval.v1.ApprovalService/ApproveChange": "pending approve",
    "approval.v1.ApprovalService/EndEmergencyGrant": "emergency end",
    "approval.v1.ApprovalService/GetPendingChange": "pending get",
    "approval.v1.ApprovalService/ListEmergencyGrants": "emergency list",
    "approval.v1.ApprovalService/ListPendingChanges": "pending list",
    "approval.v1.ApprovalService/OpenEmergencyGrant": "emergency open",
    "approval.v1.ApprovalService/RejectChange": "pending reject",
    "approval.v1.ApprovalService/ReviewEmergencyGrant": "emergency review",
    "exchange.v1.ExchangeService/ListAuditHeads": "audit-heads",
    "exchange.v1.ExchangeService/ListNodes": "nodes",
    "exchange.v1.ExchangeService/ReinstateNode": "reinstate-node",
    "exchange.v1.ExchangeService/RetireNode": "retire-node",
    "policy.v1.PolicyAdminService/PublishPolicy": "policy apply",
    "policy.v1.PolicyAdminService/WithdrawPolicy": "policy withdraw",
    "policy.v1.PolicyService/BatchResolvePolicies": "policy calendar",
    "policy.v1.PolicyService/GetPolicy": "policy get",
    "policy.v1.PolicyService/ListPolicies": "policy list",
    "policy.v1.PolicyService/ListPolicyRevisions": "policy history",
    "policy.v1.PolicyService/ResolvePolicy": "policy resolve",
    "results.v1.DocumentLinkService/LinkDocuments": "link",
    "results.v1.DocumentLinkService/ListLinkedDocuments": "links",
    "results.v1.DocumentLinkService/UnlinkDocuments": "unlink",
    "results.v1.ImportService/ImportResults": "import",
    "results.v1.LabService/CreateLab": "lab create",
    "results.v1.LabService/GetLab": "lab get",
    "results.v1.LabService/ListLabs": "lab list",
    "results.v1.LabService/SetLabSigningKey": "lab set-signing-key",
    "results.v1.LabService/SetLabStanding": "lab set-standing",
    "results.v1.LabService/UpdateLab": "lab update",
    "results.v1.LegalHoldService/CreateLegalHold": "hold create",
    "results.v1.LegalHoldService/LiftLegalHold": "hold lift",
    "results.v1.LegalHoldService/ListHeldResults": "hold results",
    "results.v1.LegalHoldService/ListLegalHolds": "hold list",
    "results.v1.MissingReportService/AnswerMissingReport": "answer-missing-report",
    "results.v1.MissingReportService/ListMissingReports": "missing-reports",
    "results.v1.ResultsAdminService/CorrectResult": "correct",
    "results.v1.ResultsAdminService/RecallResults": "recall",
    "results.v1.ResultsService/GetResult": "results get",
    "results.v1.ResultsService/ListResults": "results list",
    "results.v1.ResultsService/LookupLatest": "lookup",
    "results.v1.ResultsService/WatchResults": "watch results",
    "results.v1.TimelinessService/SummarizeTimeliness": "timeliness",
    "results.v1.UploadService/GetUpload": "uploads get",
    "results.v1.UploadService/UploadResults": "upload",
    "verification.v1.EvidenceCaseService/AssignCase": "case assign",
    "verification.v1.EvidenceCaseService/ConcludeCase": "case conclude",
    "verification.v1.EvidenceCaseService/GetCase": "case get",
    "verification.v1.EvidenceCaseService/ListCases": "case list",
    "verification.v1.EvidenceFlagService/ListEvidenceFlags": "decisions flags",
    "verification.v1.HolderTokenService/IssueHolderToken": "holder-token issue",
    "verification.v1.RefusalService/AnswerRefusal": "refusal answer",
    "verification.v1.RefusalService/GetRefusal": "refusal get",
    "verification.v1.RefusalService/ListRefusals": "refusal list",
    "verification.v1.RefusalService/ReportRefusal": "refusal report",
    "verification.v1.RefusalService/TrackRefusal": "refusal track",
    "verification.v1.RefusalService/SummarizeRefusals": "refusal summary",
    "verification.v1.VerificationService/BatchVerify": "verify",
    "verification.v1.VerificationService/GetDecision": "decisions get",
    "verification.v1.VerificationService/ReplayDecision": "decisions replay",
    "verification.v1.VerificationService/StreamVerify": "verify",
    "verification.v1.VerificationService/Verify": "verify",
}
"""The command for each RPC."""
WITHOUT_COMMAND = {
    "audit.v1.AuditService/ListAuditEvents": "`hutongd audit export` prints the rows at the node (docs/audit.md)",
    "results.v1.ResultsService/BatchLookupLatest": "an app looks up many people; a person looks up one with `lookup`",
}
"""Why an RPC has no command."""
SOURCE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted(Path(hutong_client.__file__).parent.rglob("*.py"))
)


def name_of(method: MethodDescriptor) -> str:
    return f"{method.containing_service.full_name.removeprefix('hutong.')}/{method.name}"


def of_people() -> list[MethodDescriptor]:
    """Return the RPCs that a role other than a node's or a service's may call."""
    return [
        method
        for method in METHODS
        if {grant.role for grant in method.GetOptions().Extensions[access_pb2.access].grants} - PROGRAMS
    ]


@pytest.mark.parametrize("method", of_people(), ids=lambda method: method.name)
def test_rpc_that_a_person_uses_has_a_command(method: MethodDescriptor) -> None:
    """The command exists and has an example, and the package calls the RPC."""
    name = name_of(method)
    if name in WITHOUT_COMMAND:
        return
    assert name in COMMANDS, "neither a command nor a reason"
    command: click.Command | None = hutong
    for word in COMMANDS[name].split():
        assert isinstance(command, click.Group)
        command = command.commands.get(word)
    assert command is not None, COMMANDS[name]
    assert isinstance(command, NodeCommand)
    assert command.example, "the help shows no call"
    assert re.search(rf"\.{method.name}\b", SOURCE), f"no module calls {name}"


def test_tables_name_only_rpcs_of_people() -> None:
    """Each RPC stands in one table, and no table has an RPC that is gone."""
    assert not set(COMMANDS) & set(WITHOUT_COMMAND)
    assert set(COMMANDS) | set(WITHOUT_COMMAND) == {name_of(method) for method in of_people()}
