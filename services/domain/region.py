"""GB/T 2260 regions: the known codes and their hierarchy (docs/identifiers.md §1).

A code has six digits, two each for province, prefecture and county. "000000" is this project's own root for the nation.
The table has the codes of python-stdnum (`cn/loc`) and a few that python-stdnum lacks. It keeps abolished codes, so
that a result from a county that was merged later keeps a valid region. An operator may add codes that are newer in the
standard.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from stdnum import numdb

NATION = "000000"
# Codes of provincial level. The table lacks their prefectures and counties. They are valid as places of birth and of
# stay.
_SPECIAL = frozenset({"710000", "810000", "820000", "830000"})
# Hangzhou's districts 临平区 and 钱塘区, founded in April 2021. python-stdnum 2.x lacks them.
_LATER = frozenset({"330113", "330114"})
_added: set[str] = set()


@lru_cache(maxsize=16_384)
def is_region(code: str) -> bool:
    """Whether a code is or was in GB/T 2260, or is the code of the nation."""
    if len(code) != 6 or not (code.isascii() and code.isdigit()):
        return False
    if code == NATION or code in _SPECIAL or code in _LATER or code in _added:
        return True
    parts = numdb.get("cn/loc").info(code)
    return len(parts) == 2 and "county" in parts[1][1]


def set_added_regions(codes: Iterable[str]) -> None:
    """Set the codes that this process knows besides the table. They come from the operator's file."""
    _added.clear()
    _added.update(codes)
    is_region.cache_clear()


def added_regions() -> frozenset[str]:
    """Return the codes that this process knows besides the table."""
    return frozenset(_added)


@lru_cache(maxsize=16_384)
def parent(code: str) -> str | None:
    """Return the region one level up: county → prefecture → province → nation; None for the nation."""
    if code == NATION:
        return None
    if code[2:] == "0000":
        return NATION
    if code[4:] == "00":
        return code[:2] + "0000"
    return code[:4] + "00"


@lru_cache(maxsize=16_384)
def ancestry(code: str) -> tuple[str, ...]:
    """Return a region and all regions above it; the last is the nation."""
    above = parent(code)
    return (code,) if above is None else (code, *ancestry(above))


def within(code: str, ancestor: str) -> bool:
    """Whether a region is `ancestor` or lies in `ancestor`."""
    return ancestor in ancestry(code)


def prefix(code: str) -> str:
    """Return the digits with which the codes of all regions in a region begin; empty for the nation."""
    if code == NATION:
        return ""
    if code[2:] == "0000":
        return code[:2]
    return code[:4] if code[4:] == "00" else code


def same_province(one: str, other: str) -> bool:
    """Whether two regions lie in one province. The nation counts as a province by itself."""
    return one[:2] == other[:2]
