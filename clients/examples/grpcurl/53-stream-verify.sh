#!/bin/sh
# Asks two questions on a gate's stream. Each answer carries the correlation_id of its question.
set -eu
grpcurl -plaintext -d @ \
  "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" hutong.verification.v1.VerificationService/StreamVerify <<'JSON'
{"correlation_id": "gate-1/1", "request": {
  "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"},
  "region": "410105", "purpose": "PURPOSE_HOTEL", "use_time": "2022-08-11T11:59:00+08:00"}}
{"correlation_id": "gate-1/2", "request": {
  "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"},
  "region": "410105", "purpose": "PURPOSE_HOTEL", "use_time": "2022-08-11T12:01:00+08:00"}}
JSON
