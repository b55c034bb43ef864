"""What nodes pass on to one another, free of wire and storage. Persons are keyed hashes, nothing else."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from services.domain.instant import Instant
from services.results.model import DocumentLink, Lab, StoredResult


class Replica(NamedTuple):
    """One revision of a result with what its receiver needs besides to store it as its origin did.

    Hashes are empty where they were not told.
    """

    result: StoredResult
    key_version: int
    content_hash: bytes
    sampling_hash: bytes


class Reminder(NamedTuple):
    """A report that its holder has shown and that has no record: its laboratory is to upload it."""

    lab: str
    report_number: str
    create_time: Instant
    raised_by: str
    """The region of the node where it was raised."""


Change: TypeAlias = Replica | DocumentLink | Lab | Reminder
"""One change as it crosses: a link has no masks and no reasons, a laboratory its whole history."""


class WriterPosition(NamedTuple):
    """How many of a writer's commits are meant, and when the last of them was made."""

    writer: int
    offset: int
    commit_time: Instant | None
