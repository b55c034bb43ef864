#!/bin/sh
# Registers an invented laboratory. Run again, it returns the registered one.
set -eu
grpcurl -plaintext -d '{
    "lab": {
      "name": "labs/91220502MA000LAB8G",
      "display_name": "通化示例检验所",
      "region": "220502",
      "contact": "+86 435 0000 000"
    }
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.LabService/CreateLab
