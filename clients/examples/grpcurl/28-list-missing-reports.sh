#!/bin/sh
# Reports of a laboratory that their holders have shown somewhere and that no node has a record of, those that have come
# in since among them.
set -eu
grpcurl -plaintext -d '{"lab": "labs/91220502MA000LAB8G", "include_closed": true, "page_size": 10}' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.MissingReportService/ListMissingReports
