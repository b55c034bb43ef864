#!/bin/sh
# Verifies two persons in one call: one is recognised, the other is a member of a positive pool and awaits a recheck.
set -eu
grpcurl -plaintext -d '{
    "requests": [
      {"document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019"}, "region": "410105",
       "purpose": "PURPOSE_HOTEL", "use_time": "2022-08-11T10:00:00+08:00"},
      {"document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "220502187003030031"}, "region": "410105",
       "purpose": "PURPOSE_HOTEL", "use_time": "2022-08-11T10:00:00+08:00"}
    ]
  }' \
  "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" hutong.verification.v1.VerificationService/BatchVerify
