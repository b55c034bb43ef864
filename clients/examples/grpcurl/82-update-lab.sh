#!/bin/sh
# Changes the contact of a laboratory, and leaves its registered name. Run again, it changes nothing.
set -eu
grpcurl -plaintext -d '{
    "lab": {"name": "labs/91220502MA000LAB8G", "contact": "+86 435 0000 000"},
    "update_mask": {"paths": ["contact"]}
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.LabService/UpdateLab
