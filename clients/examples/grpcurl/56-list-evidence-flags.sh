#!/bin/sh
# Lists the reports that were shown in Henan for more than one person.
set -eu
grpcurl -plaintext -d '{"region": "410000", "kinds": ["EVIDENCE_FLAG_KIND_OTHER_PERSON"]}' \
  "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" hutong.verification.v1.EvidenceFlagService/ListEvidenceFlags
