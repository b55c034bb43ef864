"""Why a row cannot be uploaded, in words for a laboratory clerk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a row: its column, a name of `hutong.error.v1.ErrorReason`, and what to do. Never an identity."""

    column: str
    reason: str
    description: str


class BadCell(ValueError):
    """A cell that cannot be read; the text says what to do, and never repeats the cell."""

    def __init__(self, description: str, reason: str = "INVALID_FIELD") -> None:
        super().__init__(description)
        self.description = description
        self.reason = reason
