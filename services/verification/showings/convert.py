"""Converts flags to messages."""

from __future__ import annotations

from hutong.verification.v1.evidence_flag_pb2 import EvidenceFlag as EvidenceFlagMessage

from services.domain.instant import format_instant, shanghai_day_start
from services.domain.names import format_decision, format_lab
from services.verification.showings.store import EvidenceFlag

_DATE_LENGTH = len("2022-08-11")


def flag_to_proto(flag: EvidenceFlag) -> EvidenceFlagMessage:
    """Return the message of a flag."""
    return EvidenceFlagMessage(
        lab=format_lab(flag.lab) if flag.lab else "",
        report_number=flag.report_number,
        kinds=flag.kinds,
        region=flag.region,
        show_date=format_instant(shanghai_day_start(flag.show_day))[:_DATE_LENGTH],
        decision=format_decision(flag.decision),
        other_decision=format_decision(flag.other_decision) if flag.other_decision else "",
    )
