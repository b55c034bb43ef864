#!/bin/sh
# Watches a laboratory's results for two seconds: all stored changes, a checkpoint, then each new change. Exit code 68
# (64 + DEADLINE_EXCEEDED) means that the two seconds are over, not that the call failed.
set -eu
grpcurl -plaintext -max-time 2 -d '{"filter": {"labs": ["labs/91220502MA000LAB8G"]}}' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.ResultsService/WatchResults \
  || test $? -eq 68
