#!/bin/sh
# Replays a stored decision from its stored inputs: the decision named by DECISION, or a new one.
set -eu
here=$(dirname "$0")
name=${DECISION:-$(sh "$here/51-verify.sh" | sed -n 's/.*"name": "\(decisions[^"]*\)".*/\1/p')}
grpcurl -plaintext -d "{\"name\": \"$name\"}" \
  "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" hutong.verification.v1.VerificationService/ReplayDecision
