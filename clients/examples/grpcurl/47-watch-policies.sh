#!/bin/sh
# Watches the rules for two seconds: all there are, a checkpoint, then each change. Exit code 68
# (64 + DEADLINE_EXCEEDED) is the end of the time, no failure.
set -eu
grpcurl -plaintext -max-time 2 -d '{}' \
  "${HUTONG_POLICY_ADDRESS:-127.0.0.1:50052}" hutong.policy.v1.PolicyService/WatchPolicies \
  || test $? -eq 68
