#!/bin/sh
# Corrects a result that was uploaded as positive by mistake. This adds a revision, and the report time stays.
set -eu
grpcurl -plaintext -d '{
    "name": "labs/91220502MA000LAB8G/results/R-EXAMPLE-4",
    "outcome": "OUTCOME_NEGATIVE",
    "reason": "Two tubes were mixed up at the bench.",
    "request_id": "01829d5e-0000-7000-8000-000000000071"
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.ResultsAdminService/CorrectResult
