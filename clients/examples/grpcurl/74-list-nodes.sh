#!/bin/sh
# The provinces that replicate to the national node: up to when each is known there, and how much it has yet to send.
set -eu
grpcurl -plaintext -d '{"page_size": 50}' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.exchange.v1.ExchangeService/ListNodes
