#!/bin/sh
# Asks two questions in one call: a hotel in Zhengzhou, and a hotel in Sanya, for which this example has no policy.
set -eu
grpcurl -plaintext -d '{
    "requests": [
      {"region": "410105", "purpose": "PURPOSE_HOTEL", "effective_time": "2022-08-11T10:00:00+08:00"},
      {"region": "460200", "purpose": "PURPOSE_HOTEL", "effective_time": "2022-08-11T10:00:00+08:00"}
    ]
  }' \
  "${HUTONG_POLICY_ADDRESS:-127.0.0.1:50052}" hutong.policy.v1.PolicyService/BatchResolvePolicies
