"""Faults of rows, in words for a laboratory clerk."""

from __future__ import annotations

from dataclasses import dataclass

from hutong_texts import tr


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a row.

    Attributes:
        column: the faulty column; empty for the whole row.
        reason: a name of `hutong.error.v1.ErrorReason`.
        description: what to do. It never holds an identity.
    """

    column: str
    reason: str
    description: str

    def __post_init__(self) -> None:
        """Write the description in the language of the process."""
        object.__setattr__(self, "description", tr(self.description))


class BadCell(ValueError):
    """A cell cannot be read. The text says what to do and never repeats the cell, which may be an identity."""

    def __init__(self, description: str, reason: str = "INVALID_FIELD") -> None:
        description = tr(description)
        super().__init__(description)
        self.description = description
        self.reason = reason
