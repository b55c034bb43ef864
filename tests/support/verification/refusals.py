"""Makes reports of refusals."""

from __future__ import annotations

from dataclasses import replace

from hutong.type.v1 import purpose_pb2, refusal_ground_pb2

from services.domain.instant import Instant
from services.runtime.ids import uuid7
from services.verification.refusals.rules import Refusal

HOTEL = purpose_pb2.PURPOSE_HOTEL
NOT_LOCAL = refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY


def make_refusal(time: Instant, **fields: object) -> Refusal:
    """Return a report, which nobody has assessed, of a refusal at a hotel in Zhengzhou.

    The person was refused and reported it at `time`. `fields` replace fields of the report.
    """
    refusal = Refusal(
        uuid=uuid7(),
        region="410105",
        venue="站前宾馆",
        purpose=HOTEL,
        refuse_time=time,
        grounds=(NOT_LOCAL,),
        statement="他们要求我重新检测",
        subject_key=b"k" * 16,
        key_version=1,
        create_time=time,
    )
    return replace(refusal, **fields)  # type: ignore[arg-type]
