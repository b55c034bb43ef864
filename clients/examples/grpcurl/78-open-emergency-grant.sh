#!/bin/sh
# Opens an emergency grant at Results for 30 minutes, so that its holder may approve its own changes, and ends it.
set -eu
address="${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}"
opened=$(grpcurl -plaintext -d '{
  "reason": "The second officer cannot be reached.",
  "open_duration": "1800s",
  "request_id": "0f1c3d1e-6f1b-4c0e-9a39-5d8f6b1f7a01"
}' "$address" hutong.approval.v1.ApprovalService/OpenEmergencyGrant)
echo "$opened"
name=$(echo "$opened" | sed -n 's/.*"name": "\(emergencyGrants[^"]*\)".*/\1/p')
grpcurl -plaintext -d "{\"name\": \"$name\"}" "$address" hutong.approval.v1.ApprovalService/EndEmergencyGrant
