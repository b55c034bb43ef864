"""The tables of shown reports and of flags. Neither names a person or a gate."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, SmallInteger, String, Table

from services.domain.subject import KEY_LENGTH
from services.verification.schema import metadata

shown_reports = Table(
    "shown_reports",
    metadata,
    # Keyed hash of laboratory and report number.
    Column("report_tag", LargeBinary(KEY_LENGTH), primary_key=True),
    # Keyed hashes over report_tag and what was shown, so that the hashes of two reports of one person have nothing in
    # common. A time that was not shown is NULL.
    Column("subject_tag", LargeBinary(KEY_LENGTH), nullable=False),
    Column("sample_time_tag", LargeBinary(KEY_LENGTH)),
    Column("report_time_tag", LargeBinary(KEY_LENGTH)),
    Column("key_version", SmallInteger, nullable=False),
    # The decision for which it was shown, which may have been removed since.
    Column("decision", String(36), nullable=False),
    # The day of the first showing in Asia/Shanghai. 1970-01-01 is day 0.
    Column("show_day", Integer, nullable=False, index=True),
)

evidence_flags = Table(
    "evidence_flags",
    metadata,
    Column("decision", String(36), primary_key=True),
    # Keyed hash of laboratory and report number, so that a report that is shown twice with one question is listed once.
    Column("report_tag", LargeBinary(KEY_LENGTH), primary_key=True),
    Column("lab", String(18), nullable=False),
    Column("report_number", String(64), nullable=False),
    # Bit n is set for the kind with the number n (hutong.verification.v1.EvidenceFlagKind).
    Column("kinds", SmallInteger, nullable=False),
    # The prefecture of the place.
    Column("region", String(6), nullable=False),
    Column("show_day", Integer, nullable=False),
    # The other decision with whose showing this one was compared; empty if showings were not compared.
    Column("other_decision", String(36), nullable=False),
    Index("ix_evidence_flags_lab", "lab"),
)
