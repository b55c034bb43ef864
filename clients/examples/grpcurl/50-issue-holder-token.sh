#!/bin/sh
# Issues the token that a code page shows for its user. A gate sends it once, as `holder_token` of its VerifyRequest.
set -eu
grpcurl -plaintext -d '{
  "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019", "name": "张伟"},
  "purpose": "PURPOSE_HOTEL"
}' "${HUTONG_VERIFICATION_ADDRESS:-127.0.0.1:50053}" hutong.verification.v1.HolderTokenService/IssueHolderToken
