"""The chains of the audit, and a seal."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from hutong_texts import Text, english

from services.domain.instant import DAY, Instant, Span
from services.runtime.audit import AuditKind


class Chain(IntEnum):
    """A hash chain of audit rows. Each seal covers rows of one chain.

    All rows of one chain are kept for the same time, so that a purge removes whole seals.

    Attributes:
        READS: reads and denials.
        CHANGES: changes.
    """

    READS = 1
    CHANGES = 2


KEPT: dict[Chain, Span] = {Chain.READS: 180 * DAY, Chain.CHANGES: 3 * 365 * DAY}
"""How long rows are kept.

Reads are kept for six months, the minimum for network logs by the Cybersecurity Law (网络安全法), article 21. Changes
are kept for three years, the limitation period of the Civil Code (民法典), article 188."""


def chain_of(kind: int) -> Chain:
    """Return the chain of a kind of row."""
    return Chain.CHANGES if kind == AuditKind.CHANGE else Chain.READS


class StoredEvent(NamedTuple):
    """An event with its number.

    The fields after the writer and the sequence are those of `services.runtime.audit.AuditEvent`.
    """

    writer_id: int
    sequence: int
    kind: int
    time: Instant
    request_id: str
    role: str
    caller: str
    on_behalf_of: str
    peer: str
    method: str
    purpose: int
    region: str
    object: str
    subject_tag: bytes | None
    code: int
    outcome: str
    item_count: int
    case_id: str = ""


class LoggedHead(NamedTuple):
    """The head of a seal as it is kept elsewhere: in the log ("audit sealed"), or at the node above.

    Attributes:
        place: the place where the head is kept, in words.
    """

    chain: int
    number: int
    head: str
    place: Text = english("in the log")


class Seal(NamedTuple):
    """A seal as it is stored (`services.audit.tables`)."""

    chain: int
    number: int
    time: Instant
    writer_id: int
    first_sequence: int
    last_sequence: int
    late: bool
    previous_digest: bytes
    digest: bytes
    previous_head: bytes
    head: bytes
