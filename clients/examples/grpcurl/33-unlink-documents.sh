#!/bin/sh
# Removes the link of 31-link-documents.sh. The link stays in the history.
set -eu
grpcurl -plaintext -d '{
    "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"},
    "linked_document": {"type": "DOCUMENT_TYPE_PASSPORT", "number": "X0000001", "issuing_country": "CHN"},
    "reason": "The passport was another person’s.",
    "request_id": "01829d5e-0000-7000-8000-000000000033"
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.DocumentLinkService/UnlinkDocuments
