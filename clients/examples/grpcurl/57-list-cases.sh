#!/bin/sh
# Shows altered paper to a gate, which opens a case of evidence, and lists the newest cases of Henan.
set -eu
address="${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}"
grpcurl -plaintext -d '{
    "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"},
    "region": "410105",
    "purpose": "PURPOSE_HOTEL",
    "evidence": [{
      "channel": "CHANNEL_PAPER_REPORT",
      "lab": "labs/91220502MA000LAB8G",
      "report_number": "R-EXAMPLE-1",
      "outcome": "OUTCOME_NEGATIVE",
      "report_time": "2022-08-11T09:00:00+08:00"
    }]
  }' "$address" hutong.verification.v1.VerificationService/Verify
grpcurl -plaintext -d '{"region": "410000", "page_size": 10}' "$address" hutong.verification.v1.EvidenceCaseService/ListCases
