#!/bin/sh
# Lists the reported refusals in Henan that were assessed as unlawful.
set -eu
grpcurl -plaintext -d '{"region": "410000", "assessments": ["REFUSAL_ASSESSMENT_UNLAWFUL"]}' \
  "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" hutong.verification.v1.RefusalService/ListRefusals
