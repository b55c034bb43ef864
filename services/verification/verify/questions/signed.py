"""Reads the signed reports in the evidence of a request. Pure: signatures are verified once the keys are known."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hutong.type.v1 import outcome_pb2
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong_client.reports.signed import BadSignedReport, SealedReport, read
from hutong_texts import english

from services.domain.errors import Violation
from services.domain.instant import SECOND, from_timestamp, set_timestamp
from services.domain.names import format_item, format_lab, parse_item
from services.verification.decision.evidence import canonical_report_number, is_same_instant

_ITEM = re.compile(r"[a-z0-9-]{0,63}")
_TIMES = ("sample_time", "report_time")
_DIFFERS = english("differs from signed_report")


def read_signed(
    shown: Sequence[PresentedEvidence], found: list[Violation]
) -> tuple[Sequence[PresentedEvidence], tuple[SealedReport | None, ...]]:
    """Return the evidence with the fields that its signed reports state, and the signed reports themselves.

    The second value has one entry for each piece of evidence: its signed report, or None for a piece without a valid
    signed report. It is empty if no piece has a signed report.

    The returned evidence lacks the text of the signed report, because that text must not be stored. Faults are added to
    `found`: a text that is no signed report, and a shown field that differs from the signed report.
    """
    if not any(evidence.signed_report for evidence in shown):
        return shown, ()
    filled: list[PresentedEvidence] = []
    sealed: list[SealedReport | None] = []
    for index, evidence in enumerate(shown):
        one: SealedReport | None = None
        if evidence.signed_report:
            copy = PresentedEvidence()
            copy.CopyFrom(evidence)
            copy.signed_report = ""
            one = _read(evidence.signed_report, copy, f"evidence[{index}]", found)
            evidence = copy  # noqa: PLW2901 - the copy stands in for what was shown
        filled.append(evidence)
        sealed.append(one)
    return filled, tuple(sealed)


def _read(text: str, evidence: PresentedEvidence, field: str, found: list[Violation]) -> SealedReport | None:
    """Fill the empty fields of evidence from the text of a signed report. Return the report; None if it is faulty."""
    try:
        sealed = read(text)
    except BadSignedReport as error:
        found.append(Violation(f"{field}.signed_report", "INVALID_FIELD", error.text))
        return None
    report = sealed.report
    if report.outcome not in outcome_pb2.Outcome.values() or not _ITEM.fullmatch(report.item):
        unknown = english("has an outcome or an item that is not known")
        found.append(Violation(f"{field}.signed_report", "INVALID_FIELD", unknown))
        return None
    if evidence.report_number:
        evidence.report_number = canonical_report_number(evidence.report_number)
    stated = {
        "lab": format_lab(report.lab),
        "report_number": canonical_report_number(report.report_number),
        "item": format_item(report.item),
        "outcome": report.outcome,
    }
    if evidence.item:
        evidence.item = format_item(parse_item(evidence.item))
    for name, value in stated.items():
        if not getattr(evidence, name):
            setattr(evidence, name, value)
        elif getattr(evidence, name) != value:
            found.append(Violation(f"{field}.{name}", "INVALID_FIELD", _DIFFERS))
    for name in _TIMES:
        seconds: int | None = getattr(report, name)
        if evidence.HasField(name):  # type: ignore[arg-type]
            shown = from_timestamp(getattr(evidence, name))
            if seconds is None or not is_same_instant(shown, seconds * SECOND):
                found.append(Violation(f"{field}.{name}", "INVALID_FIELD", _DIFFERS))
                continue
        if seconds is not None:
            # The signed time is exact. A time as shown may lack the seconds.
            getattr(evidence, name).Clear()
            set_timestamp(getattr(evidence, name), seconds * SECOND)
    return sealed
