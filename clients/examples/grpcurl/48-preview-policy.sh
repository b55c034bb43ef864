#!/bin/sh
# Asks which answers a stricter policy for hotels would change on 12 August, in a dry run.
set -eu
grpcurl -plaintext -d '{
    "policy": {
      "name": "jurisdictions/410100/policies/hotel-example",
      "title": "Zhengzhou: hotels (24 h is an example window)",
      "purposes": ["PURPOSE_HOTEL"],
      "origin": "TRAVELER_ORIGIN_ANY",
      "test_required": {
        "window": {"duration": "86400s", "basis": "VALIDITY_BASIS_REPORT_TIME", "includes_boundary": false},
        "refusal_permitted": true
      },
      "effective_start_time": "2022-08-12T00:00:00+08:00"
    },
    "retroactive_reason": "An example in the past.",
    "validate_only": true,
    "impact_time": "2022-08-12T00:00:00+08:00"
  }' \
  "${HUTONG_POLICY_ADDRESS:-127.0.0.1:50052}" hutong.policy.v1.PolicyAdminService/PublishPolicy
