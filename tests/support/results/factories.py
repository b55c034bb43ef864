"""Makes a laboratory's tubes as it sends them, and batches as the store receives them.

Persons are born in the 1800s, so that none of them can be a living person.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hutong.results.v1 import lab_pb2, upload_pb2
from hutong.type.v1 import identity_pb2, outcome_pb2

from services.domain.document import canonical_document
from services.domain.instant import HOUR, MINUTE, SHANGHAI, Instant, from_datetime, to_timestamp
from services.domain.subject import Pepper
from services.results.labs.model import AUTHORIZED, Lab, StandingChange
from services.results.upload.convert import tube_from_proto
from services.results.upload.model import Tube, ValidatedBatch
from services.results.upload.workers import WorkerContext, validate_tubes
from tests.support.people import NAMES, resident_number

USCC = "91220501MA0HUTNG0T"
LAB_NAME = f"labs/{USCC}"
OTHER_USCC = "91410100MA0000001X"
"""Another code with a valid check character. It belongs to Henan; USCC belongs to Jilin."""
LABS = {"220000": USCC, "410000": OTHER_USCC, "370000": "91370100MA00000010"}
"""A laboratory at home in each province of the tests."""
CENTRAL_USCC = "121000004000000010"
"""The code of a laboratory that a central authority registered. It names no province."""
NOW = from_datetime(datetime(2022, 8, 11, 12, tzinfo=SHANGHAI))
REPORTED = NOW - HOUR
PEPPER = Pepper(b"p" * 32)

ANTIGEN = "items/sars-cov-2-antigen"
HEPATITIS = "items/hepatitis-b"
DEFAULT_ITEM_NAME = "items/sars-cov-2-nucleic-acid"
"""The default item by its name, which is stored as the empty string."""

PENDING = outcome_pb2.OUTCOME_PENDING
NEGATIVE = outcome_pb2.OUTCOME_NEGATIVE
POSITIVE = outcome_pb2.OUTCOME_POSITIVE
POOL_POSITIVE = outcome_pb2.OUTCOME_POOL_POSITIVE


def make_document(person: int) -> identity_pb2.IdentityDocument:
    """Return the document of the person with this number."""
    return identity_pb2.IdentityDocument(
        type=identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD,
        number=resident_number(person),
        name=NAMES[person % len(NAMES)],
    )


def make_tube(
    first: int = 0,
    persons: int = 1,
    *,
    outcome: outcome_pb2.Outcome.ValueType = NEGATIVE,
    reported: Instant | None = REPORTED,
    sampled: Instant | None = None,
    pool_size: int | None = None,
    site: str = "东昌区第一采样点",
    region: str = "220502",
    item: str = "",
) -> upload_pb2.Tube:
    """Return a valid tube of the persons from `first` on, with report numbers R{person}.

    A PENDING tube has only a sample time.
    """
    if outcome == PENDING:
        reported, sampled = None, sampled or REPORTED - 4 * HOUR
    elif sampled is None:
        sampled = (reported or REPORTED) - 4 * HOUR
    tube = upload_pb2.Tube(
        tube_code=f"T{first}",
        pool_size=pool_size or persons,
        specimen=2,
        method=1,
        outcome=outcome,
        sample_region=region,
        sample_site=site,
        sample_time=to_timestamp(sampled),
        item=item,
        persons=[
            upload_pb2.TubePerson(document=make_document(person), report_number=f"R{person}")
            for person in range(first, first + persons)
        ],
    )
    if reported is not None:
        tube.receive_time.CopyFrom(to_timestamp(sampled + MINUTE))
        tube.test_time.CopyFrom(to_timestamp(reported - MINUTE))
        tube.report_time.CopyFrom(to_timestamp(reported))
    return tube


def make_tubes(count: int, first: int = 0) -> list[upload_pb2.Tube]:
    """Return `count` single tubes of the persons from `first` on."""
    return [make_tube(person) for person in range(first, first + count)]


def domain_tube(tube: upload_pb2.Tube | None = None) -> Tube:
    """Return a tube as the rules see it. Without an argument it is valid."""
    return tube_from_proto(tube or make_tube())


def make_lab(uscc: str = USCC, *changes: StandingChange) -> Lab:
    """Return a laboratory that has always been authorised, unless `changes` gives another history."""
    always = StandingChange(AUTHORIZED, None, "registered", NOW)
    return Lab(uscc, "通化第一检验所", "220500", "0435-0000000", None, NOW, changes or (always,))


def lab_to_register(uscc: str = USCC) -> lab_pb2.Lab:
    """Return a laboratory as CreateLab takes it."""
    return lab_pb2.Lab(name=f"labs/{uscc}", display_name="通化第一检验所", region="220500", contact="0435-0000000")


def validate_batch(
    tubes: Sequence[upload_pb2.Tube],
    offset: int = 0,
    *,
    dialect: str = "sqlite",
    lab: Lab | None = None,
    items: Sequence[str] = ("",),
    pepper: Pepper = PEPPER,
) -> ValidatedBatch:
    """Validate a batch at NOW, as an upload that admits these items does."""
    batch = upload_pb2.TubeBatch(tubes=tubes)
    worker = WorkerContext.of(pepper, dialect)
    return validate_tubes(worker, lab or make_lab(), NOW, offset, batch.SerializeToString(), items)


def subject_key(person: int) -> bytes:
    """Return the subject key of a person."""
    document = make_document(person)
    return PEPPER.subject_key(canonical_document(document.type, document.number))
