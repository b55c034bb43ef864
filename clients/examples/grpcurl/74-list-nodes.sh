#!/bin/sh
# Lists the provinces that replicate to the national node, each with its as-of time and its backlog.
set -eu
grpcurl -plaintext -d '{"page_size": 50}' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.exchange.v1.ExchangeService/ListNodes
