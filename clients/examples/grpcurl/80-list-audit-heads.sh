#!/bin/sh
# Lists the heads of its audits that a node has sent to this one. Only the nation has any.
set -eu
grpcurl -plaintext -d '{"node": "nodes/410000", "page_size": 3}' "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" \
  hutong.exchange.v1.ExchangeService/ListAuditHeads
