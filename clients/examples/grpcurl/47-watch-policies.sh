#!/bin/sh
# Watches the policies for two seconds: all of them, a checkpoint, then each change. Exit code 68 (64 +
# DEADLINE_EXCEEDED) means that the two seconds are over, not that the call failed.
set -eu
grpcurl -plaintext -max-time 2 -d '{}' \
  "${HUTONG_POLICY_ADDRESS:-127.0.0.1:50052}" hutong.policy.v1.PolicyService/WatchPolicies \
  || test $? -eq 68
