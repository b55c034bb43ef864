#!/bin/sh
# Withdraws the policy of 41-publish-policy.sh. The withdrawal is stored with its time, and nothing is deleted.
set -eu
grpcurl -plaintext -d '{
    "name": "jurisdictions/410100/policies/hotel-example@1",
    "reason": "The example is over.",
    "request_id": "01829d5e-0000-7000-8000-000000000061"
  }' \
  "${HUTONG_POLICY_ADDRESS:-127.0.0.1:50052}" hutong.policy.v1.PolicyAdminService/WithdrawPolicy
