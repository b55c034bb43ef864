#!/bin/sh
# Reports that a hotel refused a person with a valid paper report because the person was not tested in its city. The
# paper has equal force. The request_id makes it one report, even if it is sent several times.
set -eu
grpcurl -plaintext -d '{
    "region": "410105",
    "venue": "示例宾馆",
    "purpose": "PURPOSE_HOTEL",
    "refuse_time": "2022-08-11T10:05:00+08:00",
    "grounds": ["REFUSAL_GROUND_NOT_TESTED_LOCALLY"],
    "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"},
    "evidence": [{
      "channel": "CHANNEL_PAPER_REPORT",
      "lab": "labs/91220502MA000LAB8G",
      "report_number": "TH-PAPER-1",
      "outcome": "OUTCOME_NEGATIVE",
      "sample_time": "2022-08-10T18:00:00+08:00",
      "report_time": "2022-08-11T01:30:00+08:00"
    }],
    "statement": "They said the test was not theirs.",
    "request_id": "01829d5e-0000-7000-8000-000000000081"
  }' \
  "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" hutong.verification.v1.RefusalService/ReportRefusal
