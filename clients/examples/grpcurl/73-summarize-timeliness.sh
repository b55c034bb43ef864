#!/bin/sh
# Summarises how long a laboratory took to upload its reports of 9 August 2022.
set -eu
grpcurl -plaintext -d '{
    "lab": "labs/91220502MA000LAB8G",
    "interval": {"start_time": "2022-08-09T00:00:00+08:00", "end_time": "2022-08-10T00:00:00+08:00"},
    "late_threshold": "14400s"
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.TimelinessService/SummarizeTimeliness
