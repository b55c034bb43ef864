#!/bin/sh
# Lists the laboratories of Jilin, ten per page.
set -eu
grpcurl -plaintext -d '{"region": "220000", "page_size": 10}' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.LabService/ListLabs
