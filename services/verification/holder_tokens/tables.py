"""The table of the tokens that this node has accepted. It names no person."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, Table

from services.domain.subject import KEY_LENGTH
from services.verification.schema import metadata

used_holder_tokens = Table(
    "used_holder_tokens",
    metadata,
    Column("token_id", LargeBinary(KEY_LENGTH), primary_key=True),
    # A hash of the caller and of the id of its question. The same question may be asked again.
    Column("question_hash", LargeBinary(KEY_LENGTH), nullable=False),
    # When no node accepts the token any longer, so that the row can go.
    Column("end_time", BigInteger, nullable=False, index=True),
)
