#!/bin/sh
# Looks up two persons in one call. The answers are in the order of the questions.
set -eu
grpcurl -plaintext -d '{
    "requests": [
      {"document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"}},
      {"document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "220502187003030031"}}
    ]
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.ResultsService/BatchLookupLatest
