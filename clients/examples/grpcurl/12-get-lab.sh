#!/bin/sh
# Reads a laboratory with the history of its standing.
set -eu
grpcurl -plaintext -d '{"name": "labs/91220502MA000LAB8G"}' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.LabService/GetLab
