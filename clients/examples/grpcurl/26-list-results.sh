#!/bin/sh
# Lists the positive results and positive pools of a laboratory, newest report first.
set -eu
grpcurl -plaintext -d '{
    "lab": "labs/91220502MA000LAB8G",
    "outcomes": ["OUTCOME_POSITIVE", "OUTCOME_POOL_POSITIVE"],
    "page_size": 10
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.ResultsService/ListResults
