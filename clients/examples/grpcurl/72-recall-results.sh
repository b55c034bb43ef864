#!/bin/sh
# Recalls the results that a laboratory reported within ten minutes.
set -eu
grpcurl -plaintext -d '{
    "lab": "labs/91220502MA000LAB8G",
    "report_interval": {"start_time": "2022-08-09T12:55:00+08:00", "end_time": "2022-08-09T13:05:00+08:00"},
    "reason": "The plate was contaminated.",
    "request_id": "01829d5e-0000-7000-8000-000000000072"
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.ResultsAdminService/RecallResults
