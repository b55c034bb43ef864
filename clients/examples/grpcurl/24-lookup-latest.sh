#!/bin/sh
# Looks up the newest three results of one person from inside the node's region and three from outside, in this node's
# store.
set -eu
grpcurl -plaintext -d '{
    "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"},
    "scope": "LOOKUP_SCOPE_LOCAL",
    "limit": 3
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.ResultsService/LookupLatest
