"""Words and numbers as laboratories write them."""

from __future__ import annotations

import pytest
from hutong.results.v1 import result_pb2
from hutong.type.v1 import identity_pb2, outcome_pb2
from hutong_client.tables.faults import BadCell
from hutong_client.tables.pools.sizes import POOLED, read_pool_size
from hutong_client.tables.values import (
    find_document_type,
    read_code,
    read_document_type,
    read_method,
    read_outcome,
    read_specimen,
    read_words,
)

CARD = "410105186001010019"


@pytest.mark.parametrize(
    ("word", "pool_size", "expected"),
    [
        ("阴性", 10, outcome_pb2.OUTCOME_NEGATIVE),
        (" 阴性（-） ", 1, outcome_pb2.OUTCOME_NEGATIVE),
        ("Negative", 1, outcome_pb2.OUTCOME_NEGATIVE),
        ("OUTCOME_NEGATIVE", 1, outcome_pb2.OUTCOME_NEGATIVE),
        ("阳性", 1, outcome_pb2.OUTCOME_POSITIVE),
        ("混管阳性", 10, outcome_pb2.OUTCOME_POOL_POSITIVE),
        ("待复核", 10, outcome_pb2.OUTCOME_POOL_POSITIVE),
        ("待复核", 1, outcome_pb2.OUTCOME_INCONCLUSIVE),
        ("检测中", 1, outcome_pb2.OUTCOME_PENDING),
        ("不确定", 1, outcome_pb2.OUTCOME_INCONCLUSIVE),
        ("可疑", 5, outcome_pb2.OUTCOME_INCONCLUSIVE),
    ],
)
def test_outcome_is_understood(word: str, pool_size: int, expected: int) -> None:
    """Chinese and English; a recheck of a pool is a positive pool, of a single tube no answer."""
    assert read_outcome(word, pool_size) == expected


@pytest.mark.parametrize("word", ["待定", "ok", "1", "非阴性", "阴性阳性"])
def test_unknown_outcome_is_never_guessed(word: str) -> None:
    """An unknown word is refused."""
    with pytest.raises(BadCell, match="阴性"):
        read_outcome(word, 1)


def test_every_outcome_can_be_written() -> None:
    """No value of the contract is beyond a file's reach."""
    written = {read_outcome(word, 1) for word in ("检测中", "阴性", "阳性", "混管阳性", "不确定")}
    assert written == set(outcome_pb2.Outcome.values()) - {outcome_pb2.OUTCOME_UNSPECIFIED}


@pytest.mark.parametrize("name", [name for name, value in identity_pb2.DocumentType.items() if value])
def test_every_document_type_can_be_written(name: str) -> None:
    """The contract's name is accepted in its long and in its short form."""
    value = identity_pb2.DocumentType.Value(name)
    short = name.removeprefix("DOCUMENT_TYPE_").lower()
    assert find_document_type(name) == find_document_type(short) == find_document_type(short.replace("_", "-")) == value


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("居民身份证", identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD),
        ("回乡证", identity_pb2.DOCUMENT_TYPE_HK_MACAO_TRAVEL_PERMIT),
        ("台胞证", identity_pb2.DOCUMENT_TYPE_TAIWAN_TRAVEL_PERMIT),
        ("护照", identity_pb2.DOCUMENT_TYPE_PASSPORT),
    ],
)
def test_chinese_document_type_is_understood(word: str, expected: int) -> None:
    """Document types are understood as files write them."""
    assert read_document_type(word, "") == expected


def test_missing_document_type_follows_from_the_number_only_without_doubt() -> None:
    """A card's 18 characters show its type. Eight digits could be several types."""
    assert read_document_type(None, CARD) == identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD
    assert read_document_type(None, "810000186001010017") == identity_pb2.DOCUMENT_TYPE_RESIDENCE_PERMIT
    with pytest.raises(BadCell, match="missing"):
        read_document_type(None, "00000001")


@pytest.mark.parametrize("cell", ["4.10105E+17", 4.10105186001010e17, 410105186001010000, 12345.5])
def test_rounded_number_is_refused_and_not_repeated(cell: str | float) -> None:
    """A number that Excel has rounded is lost."""
    with pytest.raises(BadCell, match="format the column as text") as caught:
        read_code(cell, "BAD_DOCUMENT_NUMBER")
    assert caught.value.reason == "BAD_DOCUMENT_NUMBER"
    assert "4.1" not in str(caught.value)


@pytest.mark.parametrize("cell", [CARD, f'="{CARD}"', f"'{CARD}", f" {CARD}\t", "４１０１０５１８６００１０１００１９"])
def test_number_kept_as_text_is_read(cell: str) -> None:
    """Files keep Excel from rounding numbers in several ways. Each is read."""
    assert read_code(cell) == CARD


def test_raised_digit_is_not_taken_for_a_plain_one() -> None:
    """A footnote's mark behind a number does not make a longer number."""
    with pytest.raises(BadCell, match="plain digits"):
        read_code(f"{CARD}²")
    assert read_code("吉一-001") == "吉一-001"


def test_short_number_of_a_workbook_is_exact() -> None:
    """Up to 15 digits a workbook's number is what was typed."""
    assert read_code(12345678) == read_code(12345678.0) == "12345678"


@pytest.mark.parametrize(
    ("cell", "size"),
    [
        ("10", 10),
        (10, 10),
        (10.0, 10),
        ("10:1", 10),
        ("1:10", 10),
        ("20混1", 20),
        ("混采", POOLED),
        ("10:01:00", 10),
        ("单管", 1),
        ("5人", 5),
        ("２", 2),
    ],
)
def test_pool_size_is_understood(cell: str | float, size: int) -> None:
    """Pool sizes are understood as numbers, ratios and words."""
    assert read_pool_size(cell) == size


@pytest.mark.parametrize("cell", ["many", "-5", "99999999999999", "", "²", "1²", "⑩", "٢"])
def test_wrong_pool_size_is_refused(cell: str) -> None:
    """Rather than taken for another."""
    with pytest.raises(BadCell):
        read_pool_size(cell)


def test_specimen_and_method_are_read_as_far_as_they_tell() -> None:
    """An unknown specimen is OTHER; a name of a test without a method leaves the method open."""
    assert read_specimen("咽拭子") == result_pb2.SPECIMEN_OROPHARYNGEAL_SWAB
    assert read_specimen("血") == result_pb2.SPECIMEN_OTHER
    assert read_specimen(None) == result_pb2.SPECIMEN_UNSPECIFIED
    assert read_method("新冠病毒核酸（实时荧光RT-PCR）") == result_pb2.METHOD_RT_PCR
    assert read_method("新冠病毒核酸") == result_pb2.METHOD_UNSPECIFIED


@pytest.mark.parametrize(
    ("cell", "words"),
    [("欧阳\n示例", "欧阳 示例"), ("Anna\r\n Maria  X", "Anna Maria X"), ("赵示例", "赵示例"), (7.0, "7.0")],
)
def test_words_are_one_line(cell: str | float, words: str) -> None:
    """A line break in a narrow cell is no part of a name."""
    assert read_words(cell) == words
