#!/bin/sh
# Takes one person's results of the whole country into a province's store; corrections and recalls follow by themselves.
# At the nation, where all is already, it answers what is there.
set -eu
grpcurl -plaintext -d '{
    "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"},
    "request_id": "7d1c1f0e-5a53-4c8e-9f5e-2f1e0a9b6c29"
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.ImportService/ImportResults
