#!/bin/sh
# Puts a laboratory under warning (yellow light) from an instant on. This adds an entry to its history; its reports
# still count.
set -eu
grpcurl -plaintext -d '{
    "name": "labs/91220502MA000LAB8G",
    "standing": "LAB_STANDING_WARNED",
    "effective_time": "2022-12-01T00:00:00+08:00",
    "reason": "Reports came late in November.",
    "request_id": "01829d5e-0000-7000-8000-000000000014"
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.LabService/SetLabStanding
