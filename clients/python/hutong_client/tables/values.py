"""Convert Chinese and English cells of laboratories to values of the contract."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import TypeAlias

from hutong.results.v1 import result_pb2
from hutong.type.v1 import identity_pb2, outcome_pb2
from hutong_texts import tr

from hutong_client.tables.faults import BadCell
from hutong_client.tables.pools.sizes import has_odd_digit
from hutong_client.tables.rows import Cell
from hutong_client.tables.words import find_country, find_invisible, load, plain

Outcome: TypeAlias = "outcome_pb2.Outcome.ValueType"
DocumentType: TypeAlias = "identity_pb2.DocumentType.ValueType"
Specimen: TypeAlias = "result_pb2.Specimen.ValueType"
Method: TypeAlias = "result_pb2.Method.ValueType"

_WORDS = load("words.toml")
_OUTCOME_BY_NAME: Mapping[str, Outcome] = {
    plain(word): outcome_pb2.Outcome.Value(f"OUTCOME_{name}")
    for name, words in _WORDS["outcomes"].items()
    for word in words
}
_AWAITS_RECHECK = frozenset(_WORDS["rechecks"]["words"])
_WITHDRAWN = frozenset(_WORDS["withdrawn"]["words"])
_TYPE_BY_NAME: Mapping[str, DocumentType] = {
    plain(word): identity_pb2.DocumentType.Value(f"DOCUMENT_TYPE_{name}")
    for name, words in _WORDS["documents"].items()
    for word in words
}
_SPECIMEN_BY_NAME: Mapping[str, Specimen] = {
    plain(word): result_pb2.Specimen.Value(f"SPECIMEN_{name}")
    for name, words in _WORDS["specimens"].items()
    for word in words
}
_METHODS: Mapping[Method, re.Pattern[str]] = {
    result_pb2.METHOD_RT_PCR: re.compile("pcr|荧光"),
    result_pb2.METHOD_ISOTHERMAL_AMPLIFICATION: re.compile("等温|isothermal"),
    result_pb2.METHOD_SEQUENCING: re.compile("测序|sequencing"),
}
_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u202a\u202c\u2060\ufeff \u00a0"
"""Characters that are dropped around a name. Inside a name they can be part of its script."""
_CHINESE = re.compile("[\u3400-\u9fff]")
_AS_QUANTITY = re.compile(r"\d([.,]\d+)?[Ee]\+\d+|\d[.,]\d+[Ee]\d+|\d{6,}\.0+")
"""A number that a program took for a quantity, as 1.1E+17 or 1.1E17. A tube code may be 1E5 or 1.10."""
_EXACT_DIGITS = 15
"""The digits that Excel keeps of a number in a workbook. Excel replaces further digits by zeros."""
_CARD_OF_RESIDENT = re.compile(r"[1-6]\d{16}[0-9Xx]")
_RESIDENCE_PERMIT = re.compile(r"8[123]0000\d{11}[0-9Xx]")


def read_code(cell: Cell, reason: str = "INVALID_FIELD") -> str:
    """Return the number of a card, tube or report as text.

    Raises:
        BadCell: Excel has rounded the number, so that the original is lost.
    """
    if isinstance(cell, str) and cell.isascii() and cell.isalnum():
        return cell
    rounded = isinstance(cell, float) and not cell.is_integer()
    text = str(int(cell)) if isinstance(cell, float) and not rounded else str(cell)
    if rounded or (not isinstance(cell, str) and len(text) > _EXACT_DIGITS) or _AS_QUANTITY.fullmatch(text):
        raise BadCell(
            tr(
                "Excel read the number as a quantity and rounded it; format the column as text in "
                "Excel, then enter the numbers again"
            ),
            reason,
        )
    # Some systems write ="0123" so that Excel keeps the zeros, others a leading apostrophe.
    if text.startswith('="') and text.endswith('"'):
        text = text[2:-1]
    if has_odd_digit(text):
        raise BadCell(tr("a digit of the number is raised or circled; type it in plain digits"), reason)
    if hidden := find_invisible(text):
        raise BadCell(
            tr("an invisible character ({hidden}) is in the number; type the number again", hidden=hidden), reason
        )
    return unicodedata.normalize("NFKC", text.removeprefix("'")).strip()


def read_words(cell: Cell) -> str:
    """Return a name or a site as one line. Line breaks inside a cell, as in narrow columns, become spaces."""
    return " ".join(str(cell).split()).strip(_INVISIBLE)


def read_outcome(cell: Cell, pool_size: int) -> Outcome:
    """Return the outcome of a tube; raise BadCell if the word is unknown."""
    word = plain(cell)
    if word in _AWAITS_RECHECK:
        return outcome_pb2.OUTCOME_POOL_POSITIVE if pool_size > 1 else outcome_pb2.OUTCOME_INCONCLUSIVE
    outcome = _OUTCOME_BY_NAME.get(word.removeprefix("outcome_"))
    if outcome is None and word in _WITHDRAWN:
        raise BadCell(tr("the laboratory marks the row as cancelled or its specimen as unfit, so it has no result"))
    if outcome is None:
        raise BadCell(tr("this is not a known result; write 阴性, 阳性, 混管阳性, 待复核, 检测中 or 不确定"))
    return outcome


def read_document_number(cell: Cell) -> str:
    """Return the number of a document; raise BadCell if it cannot be one."""
    if isinstance(cell, str) and cell.isascii() and cell.isalnum():
        return cell
    number = read_code(cell, "BAD_DOCUMENT_NUMBER")
    if "*" in number:
        raise BadCell(tr("the number is masked by asterisks; write it in full"), "BAD_DOCUMENT_NUMBER")
    if _is_number_of_gb_11643(compact := number.replace(" ", "")):
        return compact
    if not number.isascii() and _CHINESE.search(number) and any(map(str.isdigit, number)):
        raise BadCell(
            tr(
                "a document's number has letters A to Z and digits only; write that of a 军官证 or "
                "士兵证 with its first character in pinyin and its digits, as JUN00000001 for "
                "军字第00000001号, and the same at the gate"
            ),
            "BAD_DOCUMENT_NUMBER",
        )
    return number


def _is_number_of_gb_11643(number: str) -> bool:
    return bool(_CARD_OF_RESIDENT.fullmatch(number) or _RESIDENCE_PERMIT.fullmatch(number))


def read_document_type(cell: Cell | None, number: str) -> DocumentType:
    """Return the type of a document. If the cell is empty, an unambiguous number decides.

    Raises:
        BadCell: the type is unknown, or missing while the number is ambiguous.
    """
    if cell is None:
        if _RESIDENCE_PERMIT.fullmatch(number):
            return identity_pb2.DOCUMENT_TYPE_RESIDENCE_PERMIT
        if _CARD_OF_RESIDENT.fullmatch(number):
            return identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD
        raise BadCell(tr("the type of the document is missing and not clear from its number; write it, as 居民身份证"))
    kind = find_document_type(str(cell))
    if kind is None:
        raise BadCell(
            tr("this is not a known type of document; write 居民身份证, 护照, 港澳居民来往内地通行证 ... or 其他")
        )
    return kind


def read_country(cell: Cell) -> str:
    """Return a country's code; raise BadCell if its name is unknown."""
    code = find_country(str(cell))
    if code is None:
        raise BadCell(tr("this is not a known country; write its three capital letters of ISO 3166-1, like FRA"))
    return code


def find_document_type(word: str) -> DocumentType | None:
    """Return the document type for a Chinese or English word; None if the word is unknown."""
    return _TYPE_BY_NAME.get(plain(word).removeprefix("document_type_").replace("-", "_"))


def read_specimen(cell: Cell | None) -> Specimen:
    """Return the specimen; OTHER for an unknown word."""
    if cell is None:
        return result_pb2.SPECIMEN_UNSPECIFIED
    return _SPECIMEN_BY_NAME.get(plain(cell).removeprefix("specimen_"), result_pb2.SPECIMEN_OTHER)


def read_method(cell: Cell | None) -> Method:
    """Return the method that the name of the test contains; UNSPECIFIED if it contains none."""
    word = "" if cell is None else plain(cell)
    return next((method for method, form in _METHODS.items() if form.search(word)), result_pb2.METHOD_UNSPECIFIED)
