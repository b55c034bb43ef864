#!/bin/sh
# Imports one person's nationwide results into a province's store. Later corrections and recalls of them arrive
# automatically. At the nation, which has all results already, it returns the stored ones.
set -eu
grpcurl -plaintext -d '{
    "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"},
    "request_id": "7d1c1f0e-5a53-4c8e-9f5e-2f1e0a9b6c29"
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.ImportService/ImportResults
