#!/bin/sh
# Lists the newest change of Results that waits for a second approver, shows it in full and approves it.
set -eu
address="${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}"
found=$(grpcurl -plaintext -d '{"page_size": 1}' "$address" hutong.approval.v1.ApprovalService/ListPendingChanges)
echo "$found"
name=$(echo "$found" | sed -n 's/.*"name": "\(pendingChanges[^"]*\)".*/\1/p')
if [ -n "$name" ]; then
  grpcurl -plaintext -d "{\"name\": \"$name\"}" "$address" hutong.approval.v1.ApprovalService/GetPendingChange
  grpcurl -plaintext -d "{\"name\": \"$name\"}" "$address" hutong.approval.v1.ApprovalService/ApproveChange
fi
