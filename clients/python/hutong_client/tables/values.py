"""Convert Chinese and English cells of laboratories to values of the contract."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

from hutong.results.v1 import result_pb2
from hutong.type.v1 import identity_pb2, outcome_pb2

from hutong_client.tables.faults import BadCell
from hutong_client.tables.rows import Cell

Outcome: TypeAlias = "outcome_pb2.Outcome.ValueType"
DocumentType: TypeAlias = "identity_pb2.DocumentType.ValueType"
Specimen: TypeAlias = "result_pb2.Specimen.ValueType"
Method: TypeAlias = "result_pb2.Method.ValueType"

_OUTCOMES: Mapping[Outcome, tuple[str, ...]] = {
    outcome_pb2.OUTCOME_PENDING: ("检测中", "待检测", "已采样", "采样完成", "结果未出", "pending"),
    outcome_pb2.OUTCOME_NEGATIVE: ("阴性", "阴性(-)", "阴", "未检出", "negative", "neg"),
    outcome_pb2.OUTCOME_POSITIVE: ("阳性", "阳性(+)", "阳", "检出", "positive", "pos"),
    outcome_pb2.OUTCOME_POOL_POSITIVE: ("混管阳性", "混检阳性", "混采阳性", "混样阳性", "pool_positive"),
    outcome_pb2.OUTCOME_INCONCLUSIVE: (
        "不确定", "可疑", "无效", "灰区", "弱阳性待定", "inconclusive", "indeterminate", "invalid"
    ),
}  # fmt: skip
_AWAITS_RECHECK = frozenset({"待复核", "待复检", "复检中", "复核中"})
"""For a pool: a target was found and the members are rechecked. For a single tube: the test was inconclusive."""

_DOCUMENT_TYPES: Mapping[DocumentType, tuple[str, ...]] = {
    identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD: (
        "居民身份证", "身份证", "二代身份证", "中国居民身份证", "resident_id_card", "id_card", "idcard"
    ),
    identity_pb2.DOCUMENT_TYPE_HK_MACAO_TRAVEL_PERMIT: (
        "港澳居民来往内地通行证", "港澳居民通行证", "港澳通行证", "回乡证", "hk_macao_travel_permit"
    ),
    identity_pb2.DOCUMENT_TYPE_TAIWAN_TRAVEL_PERMIT: (
        "台湾居民来往大陆通行证", "台湾居民通行证", "台胞证", "taiwan_travel_permit"
    ),
    identity_pb2.DOCUMENT_TYPE_RESIDENCE_PERMIT: (
        "港澳台居民居住证", "港澳居民居住证", "台湾居民居住证", "居住证", "residence_permit"
    ),
    identity_pb2.DOCUMENT_TYPE_PASSPORT: ("护照", "外国护照", "普通护照", "passport"),
    identity_pb2.DOCUMENT_TYPE_FOREIGN_PERMANENT_RESIDENT_CARD: (
        "外国人永久居留身份证", "外国人永久居留证", "永久居留证", "foreign_permanent_resident_card"
    ),
    identity_pb2.DOCUMENT_TYPE_OTHER: ("其他", "其它", "其他证件", "other"),
}  # fmt: skip
_SPECIMENS: Mapping[Specimen, tuple[str, ...]] = {
    result_pb2.SPECIMEN_NASOPHARYNGEAL_SWAB: ("鼻咽拭子", "nasopharyngeal_swab"),
    result_pb2.SPECIMEN_OROPHARYNGEAL_SWAB: ("口咽拭子", "咽拭子", "oropharyngeal_swab"),
    result_pb2.SPECIMEN_NASAL_SWAB: ("鼻拭子", "nasal_swab"),
    result_pb2.SPECIMEN_SALIVA: ("唾液", "saliva"),
    result_pb2.SPECIMEN_SPUTUM: ("痰液", "痰", "sputum"),
}
_METHODS: Mapping[Method, re.Pattern[str]] = {
    result_pb2.METHOD_RT_PCR: re.compile("pcr|荧光"),
    result_pb2.METHOD_ISOTHERMAL_AMPLIFICATION: re.compile("等温|isothermal"),
    result_pb2.METHOD_SEQUENCING: re.compile("测序|sequencing"),
}
_OUTCOME_BY_NAME = {name: value for value, names in _OUTCOMES.items() for name in names}
_TYPE_BY_NAME = {name: value for value, names in _DOCUMENT_TYPES.items() for name in names}
_SPECIMEN_BY_NAME = {name: value for value, names in _SPECIMENS.items() for name in names}

_SCIENTIFIC = re.compile(r"\d(\.\d+)?[Ee]\+\d+")
_POOL = re.compile(r"([0-9]{1,3})(?:人|[:/混合]1)?")
_SINGLE = frozenset({"单管", "单采", "单检", "单人", "single"})
_EXACT_DIGITS = 15
"""The digits that Excel keeps of a number in a workbook. It replaces further ones by zeros."""
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
    if rounded or (not isinstance(cell, str) and len(text) > _EXACT_DIGITS) or _SCIENTIFIC.fullmatch(text):
        raise BadCell(
            "Excel read the number as a quantity and rounded it; format the column as text in Excel, then enter the "
            "numbers again",
            reason,
        )
    # Some systems write ="0123" so that Excel keeps the zeros, others a leading apostrophe.
    if text.startswith('="') and text.endswith('"'):
        text = text[2:-1]
    if _has_odd_digit(text):
        raise BadCell("a digit of the number is raised or circled; type it in plain digits", reason)
    return unicodedata.normalize("NFKC", text.removeprefix("'")).strip()


def read_words(cell: Cell) -> str:
    """Return a name or a site as one line. Line breaks inside a cell, as in narrow columns, become spaces."""
    return " ".join(str(cell).split())


def read_outcome(cell: Cell, pool_size: int) -> Outcome:
    """Return the outcome of a tube; raise BadCell if the word is unknown."""
    word = _plain(cell)
    if word in _AWAITS_RECHECK:
        return outcome_pb2.OUTCOME_POOL_POSITIVE if pool_size > 1 else outcome_pb2.OUTCOME_INCONCLUSIVE
    outcome = _OUTCOME_BY_NAME.get(word.removeprefix("outcome_"))
    if outcome is None:
        raise BadCell("this is not a known result; write 阴性, 阳性, 混管阳性, 待复核, 检测中 or 不确定")
    return outcome


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
        raise BadCell("the type of the document is missing and not clear from its number; write it, as 居民身份证")
    kind = find_document_type(str(cell))
    if kind is None:
        raise BadCell(
            "this is not a known type of document; write 居民身份证, 护照, 港澳居民来往内地通行证 ... or 其他"
        )
    return kind


def find_document_type(word: str) -> DocumentType | None:
    """Return the document type for a Chinese or English word; None if the word is unknown."""
    return _TYPE_BY_NAME.get(_plain(word).removeprefix("document_type_").replace("-", "_"))


def read_specimen(cell: Cell | None) -> Specimen:
    """Return the specimen; OTHER for an unknown word."""
    if cell is None:
        return result_pb2.SPECIMEN_UNSPECIFIED
    return _SPECIMEN_BY_NAME.get(_plain(cell).removeprefix("specimen_"), result_pb2.SPECIMEN_OTHER)


def read_method(cell: Cell | None) -> Method:
    """Return the method that the name of the test contains; UNSPECIFIED if it contains none."""
    word = "" if cell is None else _plain(cell)
    return next((method for method, form in _METHODS.items() if form.search(word)), result_pb2.METHOD_UNSPECIFIED)


def read_pool_size(cell: Cell) -> int:
    """Return the pool size of "10", "10:1", "10混1" or "单管"; raise BadCell for anything else."""
    word = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else _plain(cell)
    if word in _SINGLE:
        return 1
    match = _POOL.fullmatch(word)
    if not match or _has_odd_digit(str(cell)):
        raise BadCell("this is not the size of a pool; write 1, 5, 10 or 20")
    return int(match[1])


def _has_odd_digit(text: str) -> bool:
    """Check whether normalisation would make a plain digit of another character, as "12" of "1²"."""
    return not text.isascii() and any(
        not character.isdecimal() and any(map(str.isdigit, unicodedata.normalize("NFKC", character)))
        for character in text
    )


@lru_cache(maxsize=1024)
def _plain(cell: Cell) -> str:
    """Normalise the width, case and spaces of a word. Cached, because a file repeats few words very often."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", str(cell))).lower()
