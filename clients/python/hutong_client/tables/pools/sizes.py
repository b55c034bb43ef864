"""Read the size of a pool from the cells of a row."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from hutong_texts import english, tr

from hutong_client.tables.faults import BadCell
from hutong_client.tables.rows import Cell
from hutong_client.tables.words import load, plain

POOLED = 0
"""The size of a pool of unknown size."""
_SINGLE = frozenset(load("words.toml")["pools"]["single"])
_POOLED = frozenset(load("words.toml")["pools"]["pooled"])
_MANY_TO_ONE = re.compile(r"([0-9]{1,3})(?:人份?|份|人(?:一管|1管|混检|混采)|[:/比混合]1(?:混检|混采)?)?")
_CHINESE_SIZES = {"三": 3, "五": 5, "十": 10, "二十": 20}
_IN_CHINESE = re.compile(r"(三|五|十|二十)(?:人)?(?:混|合|比)一(?:混检|混采)?")
_ONE_TO_MANY = re.compile(r"1[:比/]([0-9]{1,2})")
_AS_FLOAT = re.compile(r"([0-9]{1,3})\.0+")
"""A size that a program wrote as a quantity, as 10.0, because another row has no size."""
_AS_TIME = re.compile(r"0?1:([0-9]{2}):00|([0-9]{1,2}):01(?::00)?")
"""A ratio that a spreadsheet program has taken for a time of day. The program shows 10:1 as 10:01."""
_RATIO_INSIDE = re.compile(r"(?<![0-9])([0-9]{1,2})(?:混|合|:)1(?![0-9])|(?<![0-9])1:([0-9]{1,2})(?![0-9:])")
_POOLED_INSIDE = re.compile("混检|混采|混样|混管")
_SINGLE_INSIDE = re.compile("单检|单采|单管")
_NO_SIZE = english("this is not the size of a pool; write 1, 5, 10 or 20")
_SEVERAL = "|"
"""Separator of sizes that contradict each other in one cell. No size contains it."""


@lru_cache(maxsize=256, typed=True)
def read_pool_size(cell: Cell) -> int:
    """Return the pool size of "10", "10:1", "1:10", "10混1" or "单管"; POOLED for "混采". Cached for speed.

    Raises:
        BadCell: the cell is anything else.
    """
    if isinstance(cell, dt.datetime | dt.time):
        word = cell.strftime("%H:%M:%S")
    else:
        word = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else _in_digits(plain(cell))
    if word in _SINGLE:
        return 1
    if word in _POOLED:
        return POOLED
    forms = (_ONE_TO_MANY, _MANY_TO_ONE, _AS_FLOAT, _AS_TIME)
    match = next((found for form in forms if (found := form.fullmatch(word))), None)
    if _SEVERAL in word:
        raise BadCell(tr("several pool sizes are named; write the one of this tube into pool_size (混检人数), as 10"))
    if not match or has_odd_digit(str(cell)):
        raise BadCell(_NO_SIZE)
    size = int(next(group for group in match.groups() if group))
    if size == 0:
        raise BadCell(_NO_SIZE)
    return size


def _in_digits(word: str) -> str:
    """Return "10混1" for "十混一"."""
    match = _IN_CHINESE.fullmatch(word)
    return f"{_CHINESE_SIZES[match[1]]}混1" if match else word


def read_size(cell: Cell) -> int | None:
    """Return the pool size of a cell like `read_pool_size`; None if the cell cannot be read."""
    try:
        return read_pool_size(cell)
    except BadCell:
        return None


def find_pool_size(cells: Mapping[str, Cell]) -> Cell | None:
    """Return the cell that states the pool size; None if there is none.

    Laboratories also write the size as the kind of sampling ("混采") or into the name of the test ("核酸检测(10混1)").
    """
    own = cells.get("pool_size")
    if own is not None:
        return own
    for column in ("sample_type", "check_project"):
        cell = cells.get(column)
        if cell is not None and (hint := _find_hint(plain(cell))):
            return hint
    return None


def is_pool_word(cell: Cell) -> bool:
    """Check whether a cell says nothing but how many persons are in a tube."""
    word = plain(cell)
    return bool(
        word in _SINGLE or word in _POOLED or re.fullmatch(r"[0-9]{1,2}(?:混|合|:)1(?:混[检采])?|1:[0-9]{1,2}", word)
    )


@lru_cache(maxsize=1024)
def _find_hint(word: str) -> str:
    """Return the words of a cell that state a pool size, as "10混1" of "核酸混检(10混1)"; empty if there are none."""
    ratios = {int(match[1] or match[2]): match[0] for match in _RATIO_INSIDE.finditer(word)}
    sizes = [*ratios.values(), *(single[0] for single in [_SINGLE_INSIDE.search(word)] if single)]
    if not sizes:
        pooled = _POOLED_INSIDE.search(word)
        return pooled[0] if pooled else ""
    contradicts = len(sizes) > 1 and ratios.keys() != {1}
    if contradicts or (not ratios and _POOLED_INSIDE.search(word)):
        return _SEVERAL.join(("", *sizes))
    return sizes[0]


def has_odd_digit(text: str) -> bool:
    """Check whether normalisation would turn another character into a plain digit, as it turns "1²" into "12"."""
    return not text.isascii() and any(
        not character.isdecimal() and any(map(str.isdigit, unicodedata.normalize("NFKC", character)))
        for character in text
    )
