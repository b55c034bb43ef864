// Made by protos/channel_table.py.
export const table = {
  "channel": {
    "maxMessageBytes": 4194304,
    "keepaliveTimeMillis": 20000,
    "keepaliveTimeoutMillis": 10000,
    "connectTimeoutMillis": 10000,
    "initialReconnectBackoffMillis": 100,
    "maxReconnectBackoffMillis": 1000
  },
  "serviceConfig": {
    "methodConfig": [
      {
        "name": [
          {
            "service": "hutong.approval.v1.ApprovalService",
            "method": "ListPendingChanges"
          },
          {
            "service": "hutong.approval.v1.ApprovalService",
            "method": "GetPendingChange"
          },
          {
            "service": "hutong.approval.v1.ApprovalService",
            "method": "ApproveChange"
          },
          {
            "service": "hutong.approval.v1.ApprovalService",
            "method": "RejectChange"
          },
          {
            "service": "hutong.approval.v1.ApprovalService",
            "method": "OpenEmergencyGrant"
          },
          {
            "service": "hutong.approval.v1.ApprovalService",
            "method": "EndEmergencyGrant"
          },
          {
            "service": "hutong.approval.v1.ApprovalService",
            "method": "ReviewEmergencyGrant"
          },
          {
            "service": "hutong.approval.v1.ApprovalService",
            "method": "ListEmergencyGrants"
          },
          {
            "service": "hutong.audit.v1.AuditService",
            "method": "ListAuditEvents"
          },
          {
            "service": "hutong.exchange.v1.ExchangeService",
            "method": "AdmitNode"
          },
          {
            "service": "hutong.exchange.v1.ExchangeService",
            "method": "LookupSubjects"
          },
          {
            "service": "hutong.exchange.v1.ExchangeService",
            "method": "SubscribeSubjects"
          },
          {
            "service": "hutong.exchange.v1.ExchangeService",
            "method": "ListNodes"
          },
          {
            "service": "hutong.exchange.v1.ExchangeService",
            "method": "ListAuditHeads"
          },
          {
            "service": "hutong.exchange.v1.ExchangeService",
            "method": "RetireNode"
          },
          {
            "service": "hutong.exchange.v1.ExchangeService",
            "method": "ReinstateNode"
          },
          {
            "service": "hutong.policy.v1.PolicyAdminService",
            "method": "PublishPolicy"
          },
          {
            "service": "hutong.policy.v1.PolicyAdminService",
            "method": "WithdrawPolicy"
          },
          {
            "service": "hutong.policy.v1.PolicyService",
            "method": "GetPolicy"
          },
          {
            "service": "hutong.policy.v1.PolicyService",
            "method": "ListPolicies"
          },
          {
            "service": "hutong.policy.v1.PolicyService",
            "method": "ListPolicyRevisions"
          },
          {
            "service": "hutong.policy.v1.PolicyService",
            "method": "ResolvePolicy"
          },
          {
            "service": "hutong.policy.v1.PolicyService",
            "method": "BatchResolvePolicies"
          },
          {
            "service": "hutong.policy.v1.PolicyService",
            "method": "WatchPolicies"
          },
          {
            "service": "hutong.results.v1.ResultsService",
            "method": "GetResult"
          },
          {
            "service": "hutong.results.v1.ResultsService",
            "method": "ListResults"
          },
          {
            "service": "hutong.results.v1.ResultsService",
            "method": "LookupLatest"
          },
          {
            "service": "hutong.results.v1.ResultsService",
            "method": "BatchLookupLatest"
          },
          {
            "service": "hutong.results.v1.ResultsService",
            "method": "WatchResults"
          },
          {
            "service": "hutong.results.v1.DocumentLinkService",
            "method": "LinkDocuments"
          },
          {
            "service": "hutong.results.v1.DocumentLinkService",
            "method": "UnlinkDocuments"
          },
          {
            "service": "hutong.results.v1.DocumentLinkService",
            "method": "ListLinkedDocuments"
          },
          {
            "service": "hutong.results.v1.ImportService",
            "method": "ImportResults"
          },
          {
            "service": "hutong.results.v1.LabService",
            "method": "CreateLab"
          },
          {
            "service": "hutong.results.v1.LabService",
            "method": "UpdateLab"
          },
          {
            "service": "hutong.results.v1.LabService",
            "method": "GetLab"
          },
          {
            "service": "hutong.results.v1.LabService",
            "method": "ListLabs"
          },
          {
            "service": "hutong.results.v1.LabService",
            "method": "SetLabStanding"
          },
          {
            "service": "hutong.results.v1.LabService",
            "method": "SetLabSigningKey"
          },
          {
            "service": "hutong.results.v1.LegalHoldService",
            "method": "CreateLegalHold"
          },
          {
            "service": "hutong.results.v1.LegalHoldService",
            "method": "LiftLegalHold"
          },
          {
            "service": "hutong.results.v1.LegalHoldService",
            "method": "ListLegalHolds"
          },
          {
            "service": "hutong.results.v1.LegalHoldService",
            "method": "ListHeldResults"
          },
          {
            "service": "hutong.results.v1.MissingReportService",
            "method": "ListMissingReports"
          },
          {
            "service": "hutong.results.v1.MissingReportService",
            "method": "AnswerMissingReport"
          },
          {
            "service": "hutong.results.v1.ResultsAdminService",
            "method": "CorrectResult"
          },
          {
            "service": "hutong.results.v1.ResultsAdminService",
            "method": "RecallResults"
          },
          {
            "service": "hutong.results.v1.TimelinessService",
            "method": "SummarizeTimeliness"
          },
          {
            "service": "hutong.results.v1.UploadService",
            "method": "GetUpload"
          },
          {
            "service": "hutong.verification.v1.EvidenceCaseService",
            "method": "ListCases"
          },
          {
            "service": "hutong.verification.v1.EvidenceCaseService",
            "method": "GetCase"
          },
          {
            "service": "hutong.verification.v1.EvidenceCaseService",
            "method": "AssignCase"
          },
          {
            "service": "hutong.verification.v1.EvidenceCaseService",
            "method": "ConcludeCase"
          },
          {
            "service": "hutong.verification.v1.EvidenceFlagService",
            "method": "ListEvidenceFlags"
          },
          {
            "service": "hutong.verification.v1.HolderTokenService",
            "method": "IssueHolderToken"
          },
          {
            "service": "hutong.verification.v1.RefusalService",
            "method": "ReportRefusal"
          },
          {
            "service": "hutong.verification.v1.RefusalService",
            "method": "GetRefusal"
          },
          {
            "service": "hutong.verification.v1.RefusalService",
            "method": "TrackRefusal"
          },
          {
            "service": "hutong.verification.v1.RefusalService",
            "method": "ListRefusals"
          },
          {
            "service": "hutong.verification.v1.RefusalService",
            "method": "AnswerRefusal"
          },
          {
            "service": "hutong.verification.v1.RefusalService",
            "method": "SummarizeRefusals"
          },
          {
            "service": "hutong.verification.v1.VerificationService",
            "method": "GetDecision"
          },
          {
            "service": "hutong.verification.v1.VerificationService",
            "method": "ReplayDecision"
          }
        ],
        "retryPolicy": {
          "maxAttempts": 4,
          "initialBackoff": "0.1s",
          "maxBackoff": "2s",
          "backoffMultiplier": 3,
          "retryableStatusCodes": [
            "UNAVAILABLE",
            "CANCELLED"
          ]
        }
      },
      {
        "name": [
          {
            "service": "hutong.verification.v1.VerificationService",
            "method": "Verify"
          },
          {
            "service": "hutong.verification.v1.VerificationService",
            "method": "BatchVerify"
          }
        ],
        "retryPolicy": {
          "maxAttempts": 4,
          "initialBackoff": "0.1s",
          "maxBackoff": "2s",
          "backoffMultiplier": 3,
          "retryableStatusCodes": [
            "CANCELLED"
          ]
        }
      }
    ]
  }
} as const;
