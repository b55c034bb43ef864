#!/bin/sh
# Lists the missing reports of a laboratory: holders have shown them, and no node has a record of them. Reports that
# were uploaded later are listed too.
set -eu
grpcurl -plaintext -d '{"lab": "labs/91220502MA000LAB8G", "include_closed": true, "page_size": 10}' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.MissingReportService/ListMissingReports
