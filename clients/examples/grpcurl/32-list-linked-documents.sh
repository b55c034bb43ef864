#!/bin/sh
# Lists the documents that are or were linked to a document, masked.
set -eu
grpcurl -plaintext -d '{"document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"}}' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.DocumentLinkService/ListLinkedDocuments
