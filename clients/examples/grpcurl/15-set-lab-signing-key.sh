#!/bin/sh
# Registers a public key with which a laboratory signs reports: DER of Ed25519 in base64, as by
# `openssl pkey -pubin -in lab.pub -outform DER | base64`.
set -eu
grpcurl -plaintext -d '{
    "name": "labs/91220502MA000LAB8G",
    "signing_key": {"public_key": "MCowBQYDK2VwAyEA1i8Bah79Hk/feT60LNhEceG6nwzwTRKHtcxx9hYofLg="},
    "request_id": "01829d5e-0000-7000-8000-000000000015"
  }' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.LabService/SetLabSigningKey
