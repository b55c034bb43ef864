"""Upload a few results as a laboratory does, and print what became of them.

python examples/lab.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.upload_pb2 import Tube, TubePerson
from hutong.type.v1.identity_pb2 import DOCUMENT_TYPE_PASSPORT, IdentityDocument
from hutong.type.v1.outcome_pb2 import OUTCOME_NEGATIVE
from hutong_client import UploadSession, batches_of, connect

HOUR = 3600


def main() -> None:
    """Upload, and print the totals."""
    parser = argparse.ArgumentParser(description="Upload a few results as a laboratory does.")
    parser.add_argument("--results", help="the address of Results")
    parser.add_argument("--lab", default="labs/91220502MA000LAB8G", help="the laboratory")
    parser.add_argument("--count", type=int, default=10, help="how many people to report")
    options = parser.parse_args()
    now = int(time.time())
    with connect(results=options.results) as node:
        session = UploadSession(node.uploads, options.lab, f"python-{time.time_ns()}")
        for batch in session.send(batches_of(tubes(options.count, now))):
            for rejection in batch.response.rejections:
                faults = ", ".join(f"{it.field}: {it.reason}" for it in rejection.violations)
                print(f"tube {batch.offset + rejection.tube_index}: {faults}")
        totals = session.totals()
    print(f"accepted {totals.accepted}, rejected {totals.rejected}")


def tubes(count: int, now: int) -> Iterator[Tube]:
    """Yield one tube for each person. The last one has its report before its test, which is rejected."""
    run = time.time_ns()
    for index in range(count):
        hours_ago = 10 if index == count - 1 else 1
        yield Tube(
            tube_code=f"PY{run}-{index}",
            pool_size=1,
            sample_region="220502",
            sample_time=Timestamp(seconds=now - 6 * HOUR),
            receive_time=Timestamp(seconds=now - 5 * HOUR),
            test_time=Timestamp(seconds=now - 3 * HOUR),
            report_time=Timestamp(seconds=now - hours_ago * HOUR),
            outcome=OUTCOME_NEGATIVE,
            persons=[
                TubePerson(
                    document=IdentityDocument(
                        type=DOCUMENT_TYPE_PASSPORT, number=f"PY{index:07}", issuing_country="DEU"
                    ),
                    report_number=f"PY-{run}-{index}",
                )
            ],
        )


if __name__ == "__main__":
    main()
