"""Makes a day's tubes for the bench."""

from __future__ import annotations

import random

from hutong.results.v1 import upload_pb2
from hutong.type.v1 import identity_pb2, outcome_pb2

from tests.support.people import NAMES, resident_number

LAB = "labs/91220501MA0HUTNG0T"
REGION = "220502"
POOL_SIZES = (1, 1, 1, 5, 10)
"""Pool sizes of a day. Most tubes are single, but most persons are in tubes of ten, because sites use both."""


def make_tubes(
    persons: int, *, first: int = 0, report_time: int = 1_660_003_600, seed: int = 81
) -> list[upload_pb2.Tube]:
    """Return negative tubes for `persons` persons, numbered from `first`. report_time is in seconds since 1970."""
    choose = random.Random(seed)
    tubes: list[upload_pb2.Tube] = []
    index = first
    while index < first + persons:
        pool = choose.choice(POOL_SIZES)
        size = min(pool, first + persons - index)
        tube = upload_pb2.Tube(
            tube_code=f"T{index:010d}",
            pool_size=pool,
            specimen=2,
            method=1,
            outcome=outcome_pb2.OUTCOME_NEGATIVE,
            sample_region=REGION,
            sample_site="东昌区第一采样点",
        )
        reported = report_time + index % 36_000
        tube.sample_time.seconds = reported - 14_400
        tube.receive_time.seconds = reported - 9_000
        tube.test_time.seconds = reported - 3_600
        tube.report_time.seconds = reported
        for person in range(index, index + size):
            tube.persons.add(
                document=identity_pb2.IdentityDocument(
                    type=identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD,
                    number=resident_number(person),
                    name=NAMES[person % len(NAMES)],
                ),
                report_number=f"R{person:012d}",
            )
        tubes.append(tube)
        index += size
    return tubes
