"""The table of missing reports."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, SmallInteger, String, Table

from services.results.schema import metadata

# Reports that a holder has shown and that had no record at that time. A missing report is closed once the report has a
# key in report_keys, or once the nation says that the report was uploaded to another node.
missing_reports = Table(
    "missing_reports",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("report_number", String(64), primary_key=True),
    Column("create_time", BigInteger, nullable=False),
    # The region of the node where the holder showed the report.
    Column("raising_node", String(6), nullable=False),
    # Whether the report was passed on to the node that has registered its laboratory. This node does not list such a
    # report.
    Column("passed_on", Boolean, nullable=False),
    # When the report was uploaded to another node. NULL while the nation has not reported such an upload.
    Column("close_time", BigInteger),
    # The laboratory's answer, a hutong.results.v1.MissingReportAnswer; NULL without an answer.
    Column("answer", SmallInteger),
    # When the laboratory's node recorded the answer.
    Column("answer_time", BigInteger),
    # When the laboratory expects to upload the report; NULL if the answer states no time.
    Column("expected_time", BigInteger),
    # Who answered. Only the node where the answer was given knows this; NULL at other nodes.
    Column("answer_actor", String(100)),
    # When the answer was stored here. NULL without an answer, and for an answer that is older than this column.
    Column("answer_store_time", BigInteger),
    Index("ix_missing_reports_create_time", "create_time"),
    Index("ix_missing_reports_answer_store_time", "answer_store_time"),
)
