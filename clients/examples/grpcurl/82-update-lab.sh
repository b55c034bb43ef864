#!/bin/sh
# Changes the contact of a laboratory, and leaves its registered name: without an update_mask, the stated fields change.
# grpcurl takes a mask as {"paths": ["contact"]}. Run again, the call changes nothing.
set -eu
grpcurl -plaintext -d '{
    "lab": {"name": "labs/91220502MA000LAB8G", "contact": "+86 435 0000 000"}
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.LabService/UpdateLab
