#!/bin/sh
# Assigns the newest case of evidence that nobody examines to an officer, reads it, and concludes it as forged.
set -eu
address="${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}"
found=$(grpcurl -plaintext -d '{"states": ["EVIDENCE_CASE_STATE_OPEN"], "page_size": 1}' "$address" hutong.verification.v1.EvidenceCaseService/ListCases)
echo "$found"
name=$(echo "$found" | sed -n 's/.*"name": "\(cases[^"]*\)".*/\1/p')
if [ -n "$name" ]; then
  grpcurl -plaintext -d "{\"name\": \"$name\", \"assignee\": \"supervisors/410000/li\"}" "$address" \
    hutong.verification.v1.EvidenceCaseService/AssignCase
  grpcurl -plaintext -d "{\"name\": \"$name\"}" "$address" hutong.verification.v1.EvidenceCaseService/GetCase
  grpcurl -plaintext -d "{\"name\": \"$name\", \"finding\": \"EVIDENCE_CASE_FINDING_FORGED\", \"note\": \"altered time\"}" \
    "$address" hutong.verification.v1.EvidenceCaseService/ConcludeCase
fi
