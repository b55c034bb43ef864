#!/bin/sh
# Lists the changes of Results that wait for a second approver. Policy serves the same RPC about floors. Changes of local
# callers are made at once, so the list is empty here.
set -eu
grpcurl -plaintext -d '{"page_size": 3}' "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" \
  hutong.approval.v1.ApprovalService/ListPendingChanges
