#!/bin/sh
# Holds the results of a laboratory, so that no purge destroys them, lists the holds and what they keep, and lifts the hold.
set -eu
address="${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}"
held=$(grpcurl -plaintext -H 'hutong-case: 2022-C-17' -d '{
  "lab": "labs/91220502MA000LAB8G",
  "report_interval": {"end_time": "2022-08-01T00:00:00+08:00"},
  "reason": "Evidence in a case of forged reports.",
  "request_id": "0f1c3d1e-6f1b-4c0e-9a39-5d8f6b1f7b17"
}' "$address" hutong.results.v1.LegalHoldService/CreateLegalHold)
echo "$held"
name=$(echo "$held" | sed -n 's/.*"name": "\(legalHolds[^"]*\)".*/\1/p')
grpcurl -plaintext -d '{"page_size": 10}' "$address" hutong.results.v1.LegalHoldService/ListLegalHolds
grpcurl -plaintext -H 'hutong-case: 2022-C-17' -d "{\"name\": \"$name\"}" "$address" hutong.results.v1.LegalHoldService/ListHeldResults
grpcurl -plaintext -H 'hutong-case: 2022-C-17' -d "{\"name\": \"$name\", \"reason\": \"The case is closed.\"}" \
  "$address" hutong.results.v1.LegalHoldService/LiftLegalHold
