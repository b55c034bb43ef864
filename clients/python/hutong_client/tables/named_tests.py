"""Find the tests that a file names outside the cells of its tests: in titles, names of sheets and remarks.

A sheet called "抗原" holds antigen tests, although no cell says so. Its rows are never taken for nucleic-acid tests.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from hutong_client.tables.items import DEFAULT_NAME, SARS_COV_2_ITEMS
from hutong_client.tables.words import load

_TABLE = load("items.toml")
_ACID = ("核酸", "pcr", "nucleic")
"""Words that name only the default item. Other words for it, such as "荧光", also occur in names of antigen tests."""
_OTHER = "other"
"""Stands for all tests that have no item here."""
_ORGANISATION = re.compile(
    r"[^\s,，、;；:：()（）_-]*?(?:医院|防治[所院]|疾控中心|疾病预防控制中心|检验所|研究所|实验室|门诊部?|诊所|卫生院|中心)"
)
"""The name of an institution. It may contain the name of a disease, as "结核病防治所" does."""
_OF_WORKPLACE = re.compile("单位|公司|机构|地址|住址|address|company|employer", re.IGNORECASE)
"""Titles of columns whose cells name an institution. These cells say nothing about the test."""
_REMARK = re.compile("备注|附注|说明|类型|类别|种类|试剂|方式|套餐|remark|note|comment|kind|kit", re.IGNORECASE)
"""Titles of columns in which every name of a test counts. In other columns only the names of other tests for SARS-CoV-2
count."""


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern of words. A word in Latin letters matches only if no Latin letter stands before it."""
    return re.compile("|".join(f"(?<![a-z]){re.escape(word)}" if word.isascii() else word for word in words))


_OF_SARS_COV_2 = [(item, _pattern(words)) for item, words in _TABLE["items"].items() if item in SARS_COV_2_ITEMS]
_OF_OTHERS = [
    *((item, _pattern(words)) for item, words in _TABLE["items"].items() if item not in SARS_COV_2_ITEMS),
    (_OTHER, _pattern(_TABLE["other"]["words"])),
]
_DEFAULT_WORDS = _pattern(_ACID)
_ANY_OF_SARS_COV_2 = re.compile("|".join(pattern.pattern for _, pattern in _OF_SARS_COV_2), re.IGNORECASE)
_ANY = re.compile("|".join(pattern.pattern for _, pattern in (*_OF_SARS_COV_2, *_OF_OTHERS)), re.IGNORECASE)


@lru_cache(maxsize=1024)
def name_tests(text: str) -> dict[str, str]:
    """Return the items that a text names, each with the word that names it."""
    plain = unicodedata.normalize("NFKC", text).lower()
    rest = _ORGANISATION.sub(" ", plain)
    found = {item: match[0] for item, pattern in _OF_OTHERS if (match := pattern.search(rest))}
    if found.keys() <= {_OTHER}:
        # If the text names another virus, an antigen or antibody in the text belongs to that virus.
        own = {item: match[0] for item, pattern in _OF_SARS_COV_2 if (match := pattern.search(plain))}
        found = own or found
    if match := _DEFAULT_WORDS.search(plain):
        found[DEFAULT_NAME] = match[0]
    return found


def find_named_test(result_title: str, others: Sequence[str]) -> str:
    """Return the test for rows that name no test, worded as in the column check_project; empty if no text names a test.

    Args:
        result_title: the title of the column of results, which outweighs the other texts.
        others: the name of the sheet, the rows above the header, the other titles and the name of the file.

    Returns:
        The item if only one is named. If the texts contradict each other, the words of all texts together. These match
        no item.
    """
    decisive = name_tests(result_title)
    named = [decisive] if decisive else [tests for text in others if (tests := name_tests(text))]
    single = {item for tests in named if len(tests) == 1 for item in tests}
    if len(single) == 1 and _OTHER not in single:
        return single.pop()
    return " ".join(dict.fromkeys(word for tests in named for word in tests.values()))


@lru_cache(maxsize=1024)
def words_of_remark(title: str) -> re.Pattern[str] | None:
    """Return the words that name a test in the cells below an unknown title; None if these cells cannot name a test."""
    if _OF_WORKPLACE.search(title):
        return None
    return _ANY if _REMARK.search(title) else _ANY_OF_SARS_COV_2


class Remarks:
    """The columns of a file that are unknown here and may name a test."""

    def __init__(self, titles: Sequence[str], known: Iterable[int]) -> None:
        known = frozenset(known)
        unknown = ((at, words_of_remark(title)) for at, title in enumerate(titles) if at not in known)
        self._columns = [(at, words) for at, words in unknown if words]

    def read(self, cells: Sequence[str]) -> str:
        """Return the text of the cells that name a test; empty if there are none."""
        width = len(cells)
        return " ".join(cells[at] for at, words in self._columns if at < width and words.search(cells[at]))
