"""Find the item of a test by the name of the test, and check that the specimen fits it.

The default item is nucleic acid of SARS-CoV-2. A cell that names no other item means the default item. A cell that
names something else is never stored as the default item.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from hutong_texts import english, tr

from hutong_client.tables.faults import BadCell
from hutong_client.tables.rows import Cell
from hutong_client.tables.words import load, plain

DEFAULT = ""
"""The default item, as the contract writes it on a tube."""
DEFAULT_NAME = "items/sars-cov-2-nucleic-acid"
"""The default item's name."""
_NAME = re.compile(r"items/[a-z0-9-]{1,63}")
_TABLE = load("items.toml")
_ITEMS: dict[str, str] = {word: item for item, words in _TABLE["items"].items() for word in words}
_ANTIBODY = "items/sars-cov-2-antibody"
_OTHER_VIRUSES = frozenset({"items/hepatitis-b", "items/influenza"})
SARS_COV_2_ITEMS = frozenset(_TABLE["items"]) - _OTHER_VIRUSES
"""The items of tests for SARS-CoV-2, without the default item."""
_NEUTRAL = re.compile("|".join(sorted(map(re.escape, _TABLE["nucleic_acid"]["neutral"]), key=len, reverse=True)))
_UNMAPPED = english(
    "this test is not known; write 新型冠状病毒核酸检测 if it was one, or the test's "
    "item as items/{item}, and admit it with --item"
)


def read_item(project: Cell | None, method: Cell | None, admitted: Collection[str]) -> str:
    """Return a test's item, DEFAULT for the default item.

    Raises:
        BadCell: the item is not admitted (ITEM_NOT_ADMITTED), or the test cannot be mapped to an item.
    """
    item = _find_item("" if project is None else plain(project), "" if method is None else plain(method))
    if item is None:
        raise BadCell(_UNMAPPED)
    if item and item not in admitted:
        raise BadCell(
            tr(
                "the test is of {item}, which this upload does not admit; add --item {item} if such tests belong here",
                item=item,
            ),
            "ITEM_NOT_ADMITTED",
        )
    return item


def names_test(project: Cell | None, method: Cell | None) -> bool:
    """Check whether the cells of a row name its test. Otherwise another part of the file has to name it."""
    own, how = ("" if cell is None else plain(cell) for cell in (project, method))
    if _NAME.fullmatch(own) or _find_item(own, how) != DEFAULT:
        return True
    return any(word in f"{own} {how}" for word in _TABLE["nucleic_acid"]["tests"])


def check_specimen(cell: Cell, item: str) -> None:
    """Raise BadCell if a specimen is not from a person, or is blood or urine although the item is the default item."""
    word = plain(cell)
    if any(known in word for known in _TABLE["specimens"]["no_person"]):
        raise BadCell(
            tr("the specimen is no person's, such as food or the environment; such a row is no person's result")
        )
    if item == DEFAULT and any(known in word for known in _TABLE["specimens"]["blood"]):
        raise BadCell(
            tr(
                "a nucleic-acid test for SARS-CoV-2 is not made of this specimen; write the name of "
                "the test into check_project (检测项目)"
            )
        )


@lru_cache(maxsize=1024)
def _find_item(project: str, method: str) -> str | None:
    """Return the item; None if the words name no item or several."""
    if _NAME.fullmatch(project):
        return DEFAULT if project == DEFAULT_NAME else project
    text = project + " " + method
    acid = _TABLE["nucleic_acid"]
    items = {item for word, item in _ITEMS.items() if word in text}
    others = any(word in text for word in _TABLE["other"]["words"])
    virus = any(word in text for word in acid["virus"])
    test = any(word in text for word in acid["tests"])
    antibodies = {item for item in items if item.startswith(_ANTIBODY)}
    if antibodies:
        kinds = antibodies - {_ANTIBODY}
        items = (items - antibodies) | {kinds.pop() if len(kinds) == 1 else _ANTIBODY}
    if items & _OTHER_VIRUSES:
        # If the text names another virus, an antigen or antibody in the text belongs to that virus.
        items &= _OTHER_VIRUSES
        return None if virus or len(items) > 1 else items.pop()
    if items:
        # Words of `other` may name the method of an antigen test. If the text also names nucleic acid, the row has
        # two tests.
        named = any(word in text for word in ("核酸", "pcr", "rna"))
        return None if len(items) > 1 or named else items.pop()
    if others:
        return None
    if virus or test:
        return DEFAULT
    return None if _strip(project) or _strip(method) else DEFAULT


def _strip(text: str) -> str:
    """Return the letters of a text, without the words that say nothing about the item."""
    return re.sub(r"[\W\d_]+", "", _NEUTRAL.sub("", text))
