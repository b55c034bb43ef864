#!/bin/sh
# Changes the contact of a laboratory. Its registered name stays, because a request without an update_mask changes the
# stated fields only. A second run changes nothing. grpcurl takes a mask as {"paths": ["contact"]}.
set -eu
grpcurl -plaintext -d '{
    "lab": {"name": "labs/91220502MA000LAB8G", "contact": "+86 435 0000 000"}
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.LabService/UpdateLab
