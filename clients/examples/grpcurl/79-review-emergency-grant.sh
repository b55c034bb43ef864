#!/bin/sh
# Lists the newest emergency grant of Results that is not reviewed, and reviews it.
set -eu
address="${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}"
found=$(grpcurl -plaintext -d '{"page_size": 1}' "$address" hutong.approval.v1.ApprovalService/ListEmergencyGrants)
echo "$found"
name=$(echo "$found" | sed -n 's/.*"name": "\(emergencyGrants[^"]*\)".*/\1/p')
if [ -n "$name" ]; then
  grpcurl -plaintext -d "{\"name\": \"$name\", \"note\": \"Nothing was approved under it.\"}" "$address" \
    hutong.approval.v1.ApprovalService/ReviewEmergencyGrant
fi
