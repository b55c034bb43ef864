#!/bin/sh
# Resolves the policy for a person from Tonghua at a hotel in Zhengzhou.
set -eu
grpcurl -plaintext -d '{
    "region": "410105",
    "purpose": "PURPOSE_HOTEL",
    "arriving_from": "220500",
    "effective_time": "2022-08-11T10:00:00+08:00"
  }' \
  "${HUTONG_POLICY_ADDRESS:-127.0.0.1:50052}" hutong.policy.v1.PolicyService/ResolvePolicy
