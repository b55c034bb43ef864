#!/bin/sh
# Uploads two single tubes and a pool of two: the start, then a batch, as two messages of one stream. The response comes
# when everything is durable. The person with a wrong check character is rejected, and the other person of the pool is
# stored. Run again, the stored results count as duplicates.
set -eu
grpcurl -plaintext -d @ \
  "${HUTONG_RESULTS_ADDRESS:-127.0.0.1:50051}" hutong.results.v1.UploadService/UploadResults <<'JSON'
{"start": {"lab": "labs/91220502MA000LAB8G", "upload_id": "grpcurl-example"}}
{"batch": {"offset": 0, "tubes": [
  {
    "tube_code": "T-EXAMPLE-1", "pool_size": 1, "outcome": "OUTCOME_NEGATIVE", "sample_region": "220502",
    "specimen": "SPECIMEN_OROPHARYNGEAL_SWAB", "method": "METHOD_RT_PCR", "sample_site": "东昌区一号点",
    "sample_time": "2022-08-09T07:30:00+08:00", "receive_time": "2022-08-09T09:00:00+08:00",
    "test_time": "2022-08-09T11:00:00+08:00", "report_time": "2022-08-09T12:00:00+08:00",
    "persons": [
      {"report_number": "R-EXAMPLE-1",
       "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "410105186001010019", "name": "张示例"}}
    ]
  },
  {
    "tube_code": "T-EXAMPLE-2", "pool_size": 5, "outcome": "OUTCOME_POOL_POSITIVE", "sample_region": "220502",
    "sample_time": "2022-08-09T07:40:00+08:00", "report_time": "2022-08-09T12:30:00+08:00",
    "persons": [
      {"report_number": "R-EXAMPLE-2",
       "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "220502187003030031", "name": "李示例"}},
      {"report_number": "R-EXAMPLE-3",
       "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "450403188009090040", "name": "王示例"}}
    ]
  },
  {
    "tube_code": "T-EXAMPLE-3", "pool_size": 1, "outcome": "OUTCOME_POSITIVE", "sample_region": "220581",
    "sample_time": "2022-08-09T07:50:00+08:00", "report_time": "2022-08-09T13:00:00+08:00",
    "persons": [
      {"report_number": "R-EXAMPLE-4",
       "document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": "220581188505050120", "name": "周示例"}}
    ]
  }
]}}
JSON
