#!/bin/sh
# Answers a missing report: the laboratory has not issued it. Before, its holder shows it (LookupLatest, with a claimed
# report), and the service stores it as missing in the background, usually within a second.
set -eu
address="${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}"
grpcurl -plaintext -d '{"document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"},
  "claimed_reports": [{"lab": "labs/91220502MA000LAB8G", "report_number": "TH-FORGED-1"}]}' \
  "$address" hutong.results.v1.ResultsService/LookupLatest
tries=0
until grpcurl -plaintext -d '{"name": "labs/91220502MA000LAB8G/missingReports/TH-FORGED-1",
  "answer": "MISSING_REPORT_ANSWER_NOT_OURS"}' "$address" hutong.results.v1.MissingReportService/AnswerMissingReport; do
  tries=$((tries + 1))
  [ "$tries" -lt 20 ] || exit 1
  sleep 0.5
done
