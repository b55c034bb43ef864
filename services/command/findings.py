"""What `hutongd doctor` finds, and how it is printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad a finding is. The worst level is the exit code."""

    OK = 0
    WARNING = 1
    FAULT = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: the thing that was checked, its state, and what to do if the state is not good."""

    check: str
    level: Level
    text: str


def worst(findings: Sequence[Finding]) -> Level:
    """Return the worst level."""
    return max((one.level for one in findings), default=Level.OK)


def report(findings: Sequence[Finding], *, as_json: bool) -> str:
    """Return the findings for people, one a line, or as one JSON object."""
    if as_json:
        rows = [asdict(one) | {"level": one.level.name.lower()} for one in findings]
        return json.dumps({"findings": rows, "worst": worst(findings).name.lower()}, ensure_ascii=False, indent=2)
    return "\n".join(f"{one.level.name.lower():8} {one.check:24} {one.text}" for one in findings)
