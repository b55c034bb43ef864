#!/bin/sh
# Verifies a person who was tested in Tonghua and shows the paper at a hotel in Zhengzhou 46 hours after the report. The
# result is also on record there.
set -eu
grpcurl -plaintext -d '{
    "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"},
    "region": "410105",
    "purpose": "PURPOSE_HOTEL",
    "arriving_from": "220500",
    "use_time": "2022-08-11T10:00:00+08:00",
    "evidence": [{
      "channel": "CHANNEL_PAPER_REPORT",
      "lab": "labs/91220502MA000LAB8G",
      "report_number": "R-EXAMPLE-1",
      "outcome": "OUTCOME_NEGATIVE",
      "sample_time": "2022-08-09T07:30:00+08:00",
      "report_time": "2022-08-09T12:00:00+08:00"
    }],
    "store_decision": true
  }' \
  "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" hutong.verification.v1.VerificationService/Verify
