"""Made-up people and tubes for benches: births in the 1800s, so that they cannot be anyone alive."""

from __future__ import annotations

import random
from datetime import date, timedelta

from hutong.results.v1 import upload_pb2
from hutong.type.v1 import identity_pb2, outcome_pb2

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
LAB = "labs/91220501MA0HUTNG0T"
REGION = "220502"
NAMES = ("张伟", "王芳", "李娜", "刘洋", "陈静", "杨敏", "赵磊", "黄丽", "周强", "吴秀英")
POOL_SIZES = (1, 1, 1, 5, 10)
"""Pools of a day: by persons most are in tubes of ten, by tubes most are single, as sites switch between them."""


def resident_number(index: int) -> str:
    """The index-th made-up resident identity card number, with its check character."""
    born = date(1860, 1, 1) + timedelta(days=index // 500 % 14_000)
    county = ("410105", "220502", "450403", "370202")[index // 7_000_000 % 4]
    digits = f"{county}{born:%Y%m%d}{index % 500:03d}"
    return digits + "10X98765432"[sum(weight * int(digit) for weight, digit in zip(WEIGHTS, digits, strict=True)) % 11]


def make_tubes(
    persons: int, *, first: int = 0, report_time: int = 1_660_003_600, seed: int = 81
) -> list[upload_pb2.Tube]:
    """Negative tubes for so many persons, numbered from `first`; report_time in seconds since 1970."""
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
