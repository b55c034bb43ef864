#!/bin/sh
# Lists all revisions of a policy, newest first.
set -eu
grpcurl -plaintext -d '{"name": "jurisdictions/410100/policies/hotel-example"}' \
  "${HUTONG_POLICY_ADDRESS:-127.0.0.1:50052}" hutong.policy.v1.PolicyService/ListPolicyRevisions
