#!/bin/sh
# Lists who read, changed or was refused what at Verification. Results and Policy serve the same RPC about themselves.
set -eu
grpcurl -plaintext -d '{"page_size": 3, "kinds": ["AUDIT_EVENT_KIND_READ"]}' "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" \
  hutong.audit.v1.AuditService/ListAuditEvents
