"""A file as laboratories write it, and the rows that must be read from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """A file and the rows that must be read from it.

    Attributes:
        name: what is special about it.
        make: writes the file and returns its path.
        tubes: code → number of persons of each tube.
        bad: number of each bad row → the column that is blamed, empty for the whole row.
        refused: a part of the message if the whole file is refused.
        notice: a part of a notice.
        options: options of the reading: items, encoding.
        outcome: the outcome of all tubes, as a word of the contract.
        sampled: the sample time of all tubes, in UTC.
    """

    name: str
    make: Callable[[Path], Path]
    tubes: Mapping[str, int] = field(default_factory=dict)
    bad: Mapping[int, str] = field(default_factory=dict)
    refused: str = ""
    notice: str = ""
    items: frozenset[str] = frozenset()
    encoding: str = ""
    outcome: str = ""
    sampled: str = ""
