"""Rows that describe no person: footers of a sheet, and headers that are repeated."""

from __future__ import annotations

import re

from hutong_texts import tr

from hutong_client.tables.columns.vocabulary import ALIASES
from hutong_client.tables.rows import Cell, Row
from hutong_client.tables.words import load, plain

_FOOTER = re.compile(
    r"(?!\{)[\W_]*(合计|总计|小计|共计|总数|审核|复核|审批|校对|核对|制表|填表|填报|(?:检验|检测)[者人员]|(?:报告|签发|负责|录入)人"
    r"|批准|签字|签名|盖章|打印|日期[:：]|(?:检验|检测|送检|采样|报告)(?:日期|时间|单位)?\s*[:：]|联系|备注|说明|注[:：]|以[下上]"
    r"|[本此][页表]|结束|完毕|第\s*\d+\s*页|共\s*\d+|total\b|page\b|end\b|eof\b)",
    re.IGNORECASE,
)
"""The words with which a cell of a footer begins. A record of NDJSON begins with a brace and is no footer."""
_LINE = re.compile(r"\s*([\W_]{3})[\W_]*")
"""A line of signs, as below the last row of a table."""
_TOTAL = re.compile(r"\s*(合计|总计|小计|共计|总数|total)\s*[:：]?\s*", re.IGNORECASE)
"""A cell of a footer that is followed by a count."""
_DAY = re.compile(r"\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}.*")
"""A date or a time beside the words of a footer. No number of a document begins like a date."""
_COUNT = re.compile(r"\d{1,6}(\.0)?\s*(人次?|份|管|例|条|个)?")
"""A count in a footer. Document numbers are longer."""
_LONGEST_COUNT = 6
"""Digits of a count."""
_RESULT_WORDS = frozenset(plain(word) for words in load("words.toml")["outcomes"].values() for word in words)
_CARD_TITLES = frozenset({"card_no", *ALIASES["card_no"]})
_REPORT_TITLES = frozenset({"report_no", *ALIASES["report_no"]})


def is_no_person(row: Row) -> bool:
    """Check whether a row is a footer or repeats the header.

    A row with the number of a document or of a report is neither. A row with a sample time and a result is no footer,
    because a person's row can lack both numbers, and a name or a remark can begin like a footer.
    """
    card = row.cells.get("card_no")
    report = row.cells.get("report_no")
    if type(card) is str and len(card) > _LONGEST_COUNT and card.isascii() and card.isalnum() and card[-2].isdigit():
        # Nearly every row has the number of a document here, which is no count. The number's last character may be an
        # X.
        return False
    if isinstance(card, str) and _DAY.fullmatch(card):
        card = None
    if card is not None and (not isinstance(card, str) or any(map(str.isdigit, card))):
        return _is_count(card) and (report is None or _is_count(report)) and any(map(_TOTAL.fullmatch, row.original))
    if card in _CARD_TITLES:
        return report is None or report in _REPORT_TITLES
    if report is not None and _is_count(report):
        return card is None and any(map(_TOTAL.fullmatch, row.original))
    return report is None and not _is_of_specimen(row) and _find_word(row) is not None


def _is_of_specimen(row: Row) -> bool:
    """Check whether a row has a sample time and a result. Any cell with a digit is taken for a time here."""
    has_time = any(map(str.isdigit, str(row.cells.get("sample_date", ""))))
    return has_time and plain(row.cells.get("nat_result", "")) in _RESULT_WORDS


def _is_count(cell: Cell) -> bool:
    return _COUNT.fullmatch(str(cell)) is not None


def _find_word(row: Row) -> str | None:
    """Return the words by which a row is a footer: those of a cell, or the signs of a row that is a line of signs."""
    found = next(filter(None, map(_FOOTER.match, row.original)), None)
    if found is None and not any(map(str.isalnum, "".join(row.original))):
        found = next(filter(None, map(_LINE.fullmatch, row.original)), None)
    return found and found[1]


def describe_no_person(row: Row) -> str:
    """Return a text that says why a row describes no person."""
    if row.cells.get("card_no") in _CARD_TITLES:
        return tr("the row repeats the header and is no person's; delete it")
    return tr(
        "the row is a footer of the sheet ({word}) and no person's; delete it, and check that no person is in it",
        word=_find_word(row),
    )
