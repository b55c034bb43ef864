"""The tables of reported refusals and of their idempotent requests."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, SmallInteger, String, Table, Text

from services.domain.subject import KEY_LENGTH
from services.storage.columns import LEFT_OUT, READ_AS
from services.verification.idempotency import requests
from services.verification.refusals.routing import ANSWER_WITHIN
from services.verification.schema import metadata

__all__ = ["refusals", "requests"]

_DUE = {LEFT_OUT: True, READ_AS: f"{{row}}create_time + {ANSWER_WITHIN}"}

refusals = Table(
    "refusals",
    metadata,
    # UUIDs of version 7 sort in the order of the reports.
    Column("uuid", String(36), primary_key=True),
    Column("region", String(6), nullable=False),
    Column("venue", String(200), nullable=False),
    Column("venue_kind", SmallInteger, nullable=False),
    Column("purpose", SmallInteger, nullable=False),
    Column("refuse_time", BigInteger, nullable=False),
    # The region that the person came from; empty if it is not known.
    Column("arriving_from", String(6), nullable=False),
    # Sets of hutong.type.v1.RefusalGround: bit n means value n.
    Column("grounds", Integer, nullable=False),
    Column("forbidden_grounds", Integer, nullable=False),
    Column("decision", String(36), nullable=False),
    # 0 while the report is not assessed.
    Column("assessment", SmallInteger, nullable=False),
    Column("statement", Text, nullable=False),
    # Keyed hash of the document; NULL if the report names no document.
    Column("subject_key", LargeBinary(KEY_LENGTH)),
    Column("key_version", SmallInteger, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("answer", Text, nullable=False),
    # NULL while the report is open.
    Column("answer_time", BigInteger),
    # The name of the caller that answered; NULL before callers had names.
    Column("answer_actor", String(100)),
    # Regions of nodes; empty for none.
    Column("answer_node", String(6), nullable=False, info={LEFT_OUT: True}),
    # The node where the refusal was reported. In reports that are older than this column, it is empty until the service
    # has started.
    Column("origin_node", String(6), nullable=False, info={LEFT_OUT: True}),
    # The key of the document under the other version of the pepper; NULL if it is not known.
    Column("other_subject_key", LargeBinary(KEY_LENGTH), info={LEFT_OUT: True}),
    # The code of the receipt; NULL for reports that are older than codes.
    Column("code", String(16), info={LEFT_OUT: True}),
    # A serialized hutong.exchange.v1.RefusalEvidence; empty once the refusal is assessed.
    Column("evidence", LargeBinary, nullable=False),
    # A serialized hutong.exchange.v1.ShownDecision; empty for none.
    Column("shown_decision", LargeBinary, nullable=False),
    # A keyed hash of the request id, NULL for none. It finds a report that is repeated at another node.
    Column("request_hash", LargeBinary(KEY_LENGTH), info={LEFT_OUT: True}),
    # A hash of subject key, region, purpose and day; NULL for duplicates, for reports without a document, and for
    # reports that are older than this column.
    Column("same_report_key", LargeBinary(KEY_LENGTH), info={LEFT_OUT: True}),
    # The same hash, made with the key under the other version of the pepper. It finds reports of nodes that know one
    # version only.
    Column("other_same_report_key", LargeBinary(KEY_LENGTH), info={LEFT_OUT: True}),
    # The UUID of the earlier report of the same refusal; empty for none.
    Column("duplicate_of", String(36), nullable=False),
    Column("assess_node", String(6), nullable=False, info={LEFT_OUT: True}),
    # NULL while the report is not assessed.
    Column("assess_time", BigInteger, info={LEFT_OUT: True, READ_AS: "{row}create_time"}),
    Column("responsible_node", String(6), nullable=False, info={LEFT_OUT: True}),
    Column("due_time", BigInteger, nullable=False, info=_DUE),
    Column("escalation_count", SmallInteger, nullable=False),
    Index(None, "refuse_time", "region"),
    Index(None, "code", unique=True),
    Index(None, "same_report_key", unique=True),
    Index(None, "other_same_report_key"),
    Index(None, "request_hash"),
    Index(None, "duplicate_of"),
    Index(None, "responsible_node", "assess_time"),
    Index(None, "answer_time", "due_time"),
)

refusal_links = Table(
    "refusal_links",
    metadata,
    # The region of the other node, which is the node above or a node below that has called.
    Column("node", String(6), primary_key=True),
    Column("is_above", Boolean, nullable=False),
    # The number of the last frame with reports that the other node has acknowledged.
    Column("acknowledged_number", BigInteger, nullable=False),
    # The number of the last frame with reports from the other node that is stored here.
    Column("received_number", BigInteger, nullable=False),
    # The number of the last frame that may have been sent to the other node.
    Column("sent_number", BigInteger, nullable=False, info={LEFT_OUT: True}),
    # A random number of the newest stream. Earlier streams change nothing.
    Column("stream", BigInteger, nullable=False, info={LEFT_OUT: True}),
    # The hour from which on counts of decisions are to be sent again; NULL if none are.
    Column("resend_hour", Integer),
)

refusal_outbox = Table(
    "refusal_outbox",
    metadata,
    # A node of refusal_links, and a report whose current state that node does not have yet.
    Column("node", String(6), primary_key=True),
    Column("uuid", String(36), primary_key=True),
    # Larger after each change of the report. The row is removed when this version is acknowledged.
    Column("version", BigInteger, nullable=False),
    # The report is not sent before this instant.
    Column("send_time", BigInteger, nullable=False),
)
