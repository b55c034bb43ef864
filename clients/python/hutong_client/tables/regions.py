"""Names of regions: GB/T 2260 codes by name, and names by code."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache

from hutong_texts import ENGLISH, current_language, tr

from hutong_client.tables.faults import BadCell
from hutong_client.tables.rows import Cell
from hutong_client.tables.values import read_code
from hutong_client.tables.words import plain

NATION = "000000"
_CODE = re.compile(r"[0-9]{6}")
_YEARS = re.compile(r"\[(\d*)-(\d*)\]")
_NO_NAMES = frozenset(
    {"市辖区", "县", "省直辖县级行政区划", "自治区直辖县级行政区划", "省直辖行政单位", "省直辖县级行政单位"}
)
"""Names that stand for a group of regions."""
_SHORT = re.compile(r"(?<=..)(特别行政区|(?:(?:壮族|回族|维吾尔)?自治区)|[省市县区盟旗])$")
"""Endings that people leave out of a name, if two characters or more remain without the ending."""
_SPECIAL = {"710000": "台湾省", "810000": "香港特别行政区", "820000": "澳门特别行政区", NATION: "全国"}
_LATER = {"330113": "临平区", "330114": "钱塘区"}
"""Regions that python-stdnum's table of GB/T 2260 lacks."""
MOST_CANDIDATES = 12
"""The most regions that an error lists."""


def read_region(given: str) -> str:
    """Return the code of a region by its name, as 郑州, 金水区 or 河南郑州金水区. A code stays as it is.

    A text in ASCII stays as it is too, because the service checks codes.

    Raises:
        BadCell: no region has the name, or several have it.
    """
    name = plain(given)
    if name.isascii():
        return given.strip()
    found = _codes_by_name().get(name, ())
    if not found:
        found = tuple(_find_parts(name, ""))
    if len(found) == 1:
        return found[0]
    if not found:
        raise BadCell(tr("no region has this name; write its name or its six digits of GB/T 2260"), "REGION_UNKNOWN")
    shown = "、".join(f"{full_name(code)} {code}" for code in found[:MOST_CANDIDATES])
    more = tr(" and {count} more", count=len(found) - MOST_CANDIDATES) if len(found) > MOST_CANDIDATES else ""
    raise BadCell(
        tr("several regions have this name; write one of: {regions}{more}", regions=shown, more=more), "REGION_UNKNOWN"
    )


def read_region_cell(cell: Cell) -> str:
    """Return the code of a region by a cell with its code or its name; raise BadCell if it has neither."""
    return read_region(read_code(cell))


def full_name(code: str) -> str:
    """Return a region's name after the names of those above it, 河南省郑州市金水区; an unknown code stays as it is."""
    names = _names()
    if code not in names:
        return code
    above = [code[:2] + "0000", code[:4] + "00"]
    return "".join(names[it] for it in dict.fromkeys([*above, code]) if it in names)


def show_region(code: str) -> str:
    """Format a region for people: its code, and in Chinese its name before the code."""
    if current_language() == ENGLISH or full_name(code) == code:
        return code
    return f"{full_name(code)} {code}"


def _find_parts(name: str, above: str) -> list[str]:
    """Return the regions below `above` that `name` names. Names of regions between may come first: 郑州金水区."""
    found: dict[str, None] = {}
    for length in range(len(name) - 1, 1, -1):
        for code in _codes_by_name().get(name[:length], ()):
            if _lies_in(code, above) and code[4:] == "00":
                below = [it for it in _codes_by_name().get(name[length:], ()) if _lies_in(it, code)]
                found |= dict.fromkeys(below or _find_parts(name[length:], code))
        if found:
            break
    return [*found]


def _lies_in(code: str, above: str) -> bool:
    start = above.removesuffix("0000") if above.endswith("0000") else above.removesuffix("00")
    return code != above and code.startswith(start)


@cache
def _names() -> dict[str, str]:
    """Return, by code, the names of the regions that exist today."""
    # The table is in the extra `cli`, and only names need it.
    from stdnum import numdb  # noqa: PLC0415

    names = dict(_SPECIAL)
    database = numdb.get("cn/loc")
    for _, start, _, properties, children in database.prefixes:
        if "province" not in properties:
            continue
        for _, rest, _, details, _ in children:
            current = _current(details.get("county", ""))
            if current and current not in _NO_NAMES:
                names[start + rest] = current
    return names | _LATER


def _current(names: str) -> str:
    """Return today's name of "[1983-1982]向阳回族区,[1983-]管城回族区"; empty if the code was abolished."""
    for entry in reversed(names.split(",")):
        years = _YEARS.match(entry)
        if years is None or not years[2]:
            return _YEARS.sub("", entry)
    return ""


@cache
def _codes_by_name() -> dict[str, tuple[str, ...]]:
    """Return the codes by name, with and without the name's ending. Codes of higher levels come first."""
    found: dict[str, list[str]] = defaultdict(list)
    for code, name in _names().items():
        for spelling in dict.fromkeys((plain(name), _SHORT.sub("", plain(name)))):
            found[spelling].append(code)
    return {name: _prefer(sorted(codes, key=_level), name) for name, codes in found.items()}


def _level(code: str) -> tuple[int, str]:
    return (0 if code[2:] == "0000" else 1 if code[4:] == "00" else 2, code)


def _prefer(codes: list[str], name: str) -> tuple[str, ...]:
    """Prefer the region whose full name this is, or else the region that contains all others: 吉林 is the province."""
    exact = [code for code in codes if plain(_names()[code]) == name]
    if len(exact) == 1:
        return (exact[0],)
    first = codes[0]
    if all(_lies_in(code, first) for code in codes[1:]):
        return (first,)
    return tuple(codes)
