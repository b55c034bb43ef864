"""The findings of `hutongd doctor`, and how they are printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from hutong_texts import Text, english, tr
from hutong_texts.layout import pad


class Level(IntEnum):
    """How bad a finding is. The worst level among the findings is the exit code."""

    OK = 0
    WARNING = 1
    FAULT = 2


_WORDS = {Level.OK: english("ok"), Level.WARNING: english("warning"), Level.FAULT: english("fault")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, its state, and what to do if the state is bad."""

    check: Text
    level: Level
    text: Text


def worst(findings: Sequence[Finding]) -> Level:
    """Return the worst level among the findings."""
    return max((one.level for one in findings), default=Level.OK)


def report(findings: Sequence[Finding], *, as_json: bool) -> str:
    """Return the findings as text for people, one a line, or as one JSON object."""
    if as_json:
        rows = [{"check": str(one.check), "level": one.level.name.lower(), "text": tr(one.text)} for one in findings]
        return json.dumps({"findings": rows, "worst": worst(findings).name.lower()}, ensure_ascii=False, indent=2)
    return "\n".join(
        f"{pad(tr(_WORDS[one.level]), 8)} {pad(tr(one.check), 24)} {tr(one.text)}".rstrip() for one in findings
    )
