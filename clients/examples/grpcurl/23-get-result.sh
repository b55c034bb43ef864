#!/bin/sh
# Reads the newest revision of one result. The person's name and number are masked.
set -eu
grpcurl -plaintext -d '{"name": "labs/91220502MA000LAB8G/results/R-EXAMPLE-1"}' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.ResultsService/GetResult
