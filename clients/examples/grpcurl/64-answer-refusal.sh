#!/bin/sh
# Answers a reported refusal: the one named by REFUSAL, or that of 61-report-refusal.sh.
set -eu
here=$(dirname "$0")
name=${REFUSAL:-$(sh "$here/61-report-refusal.sh" | sed -n 's/.*"name": "\(refusals[^"]*\)".*/\1/p')}
grpcurl -plaintext -d "{\"name\": \"$name\", \"answer\": \"The hotel has been told of the notice.\"}" \
  "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" hutong.verification.v1.RefusalService/AnswerRefusal
