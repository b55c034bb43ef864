#!/bin/sh
# Counts the reported refusals in Henan in August 2022, day by day.
set -eu
grpcurl -plaintext -d '{
    "region": "410000",
    "interval": {"start_time": "2022-08-01T00:00:00+08:00", "end_time": "2022-09-01T00:00:00+08:00"},
    "period": "SUMMARY_PERIOD_DAY"
  }' \
  "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" hutong.verification.v1.RefusalService/SummarizeRefusals
