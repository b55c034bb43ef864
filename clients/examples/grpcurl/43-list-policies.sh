#!/bin/sh
# Lists the policies of Zhengzhou.
set -eu
grpcurl -plaintext -d '{"jurisdiction": "jurisdictions/410100"}' \
  "${HUTONG_POLICY_ADDRESS:-127.0.0.1:50052}" hutong.policy.v1.PolicyService/ListPolicies
