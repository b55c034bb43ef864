"""A report that is shown as evidence: what is remembered of it, and why it may be flagged. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.verification.v1 import evidence_flag_pb2 as pb

from services.domain.instant import MINUTE, Instant
from services.domain.subject import KEY_LENGTH, Pepper
from services.domain.subkeys import Purpose
from services.verification.decision.model import Evidence

if TYPE_CHECKING:
    from services.verification.cases.model import CaseKind

    FlagKind: TypeAlias = pb.EvidenceFlagKind.ValueType

OTHER_PERSON = pb.EVIDENCE_FLAG_KIND_OTHER_PERSON
OTHER_TIMES = pb.EVIDENCE_FLAG_KIND_OTHER_TIMES
LAB_NOT_REGISTERED = pb.EVIDENCE_FLAG_KIND_LAB_NOT_REGISTERED
NUMBER_WITHOUT_DIGIT = pb.EVIDENCE_FLAG_KIND_NUMBER_WITHOUT_DIGIT
SIGNATURE_NOT_VALID = pb.EVIDENCE_FLAG_KIND_SIGNATURE_NOT_VALID
SIGNED_FOR_OTHER_DOCUMENT = pb.EVIDENCE_FLAG_KIND_SIGNED_FOR_OTHER_DOCUMENT


class ReportTags(NamedTuple):
    """Keyed hashes of a showing under one version of the pepper. A time that is not shown has None."""

    version: int
    report: bytes
    subject: bytes
    sample_time: bytes | None
    report_time: bytes | None


class Showing(NamedTuple):
    """A report that was shown for a decision.

    Attributes:
        lab: the code of the laboratory; empty if it is not known.
        kinds: the flags that follow from the evidence alone.
        is_certain: whether what is shown agrees with a record, or is signed for the holder by the laboratory. A certain
            showing is not flagged itself. An earlier showing that does not fit it is flagged instead.
        is_identified: whether laboratory and number are known, so that the showing is remembered.
        tags: the hashes under each version of the pepper that is in use, those of the present version first.
        decision: the UUID of the decision.
        region: the prefecture of the place.
        day: the day in Asia/Shanghai, numbered as by `shanghai_day`.
        is_signed: whether the laboratory has signed what is shown, so that its times are right.
        case_kind: the kind of case that the evidence opens by its use in the decision; None if it opens none.
        differing_fields: the fields in which the evidence differs from its record.
        time: when the decision was made.
    """

    lab: str
    report_number: str
    kinds: frozenset[FlagKind]
    is_certain: bool
    is_identified: bool
    tags: tuple[ReportTags, ...]
    decision: str
    region: str
    day: int
    is_signed: bool = False
    case_kind: CaseKind | None = None
    differing_fields: tuple[str, ...] = ()
    time: Instant = 0


def tags_of(lab: str, evidence: Evidence, subject_key: bytes, pepper: Pepper) -> ReportTags:
    """Return the hashes of a showing under a pepper. Times count to the minute, because paper prints no seconds."""
    key = pepper.subkey(Purpose.SHOWN_REPORTS)
    report = report_tag(lab, evidence.report_number, pepper)
    times = (evidence.sample_time, evidence.report_time)
    sample_time, report_time = (
        None if time is None else _hash(key, kind, report + (time // MINUTE).to_bytes(8, signed=True))
        for kind, time in zip((b"sample", b"issue"), times, strict=True)
    )
    return ReportTags(pepper.version, report, _hash(key, b"subject", report + subject_key), sample_time, report_time)


def report_tag(lab: str, report_number: str, pepper: Pepper) -> bytes:
    """Return the hash of a report under a pepper. `lab` is the laboratory's code."""
    # A report number contains no slash, so no two reports give the same text.
    return _hash(pepper.subkey(Purpose.SHOWN_REPORTS), b"report", f"{lab}/{report_number}".encode())


def compare(first: ReportTags, later: ReportTags) -> Iterator[FlagKind]:
    """Yield why a later showing of a report does not fit the first one.

    If a time is missing in one of the two showings, the times count as equal.
    """
    if first.subject != later.subject:
        yield OTHER_PERSON
    if _differ(first.sample_time, later.sample_time) or _differ(first.report_time, later.report_time):
        yield OTHER_TIMES


def has_no_digit(report_number: str) -> bool:
    """Whether a report number is shown and has no digit. Laboratories number their reports."""
    return bool(report_number) and not any(map(str.isdecimal, report_number))


def to_bits(kinds: Iterable[FlagKind]) -> int:
    """Return kinds as a number: bit n stands for the kind n."""
    return sum({1 << kind for kind in kinds})


def from_bits(bits: int) -> list[FlagKind]:
    """Return the kinds of a number, in order."""
    return [kind for kind in pb.EvidenceFlagKind.values() if bits >> kind & 1]


def _hash(key: bytes, kind: bytes, content: bytes) -> bytes:
    return hmac.digest(key, kind + b"\0" + content, sha256)[:KEY_LENGTH]


def _differ(one: bytes | None, other: bytes | None) -> bool:
    return one is not None and other is not None and one != other
