#!/bin/sh
# Reads the committed offset of an upload, from which it can be resumed.
set -eu
grpcurl -plaintext -d '{"name": "labs/91220502MA000LAB8G/uploads/grpcurl-example"}' \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.UploadService/GetUpload
