#!/bin/sh
# Reads a reported refusal by the code of its receipt, as the person who reported it does: the code in CODE, or that of
# 61-report-refusal.sh.
set -eu
here=$(dirname "$0")
code=${CODE:-$(sh "$here/61-report-refusal.sh" | sed -n 's/.*"code": "\([^"]*\)".*/\1/p')}
grpcurl -plaintext -d "{\"code\": \"$code\"}" \
  "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" hutong.verification.v1.RefusalService/TrackRefusal
