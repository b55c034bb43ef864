#!/bin/sh
# Publishes a policy: hotels in Zhengzhou accept results up to 48 hours after the report, an example window.
set -eu
grpcurl -plaintext -d '{
    "policy": {
      "name": "jurisdictions/410100/policies/hotel-example",
      "title": "Zhengzhou: hotels (48 h is an example window)",
      "purposes": ["PURPOSE_HOTEL"],
      "origin": "TRAVELER_ORIGIN_ANY",
      "test_required": {
        "window": {"duration": "172800s", "basis": "VALIDITY_BASIS_REPORT_TIME", "includes_boundary": false},
        "refusal_permitted": true
      },
      "effective_start_time": "2022-08-05T00:00:00+08:00"
    },
    "retroactive_reason": "An example in the past."
  }' \
  "${HUTONG_POLICY_ADDRESS:-127.0.0.1:50052}" hutong.policy.v1.PolicyAdminService/PublishPolicy
