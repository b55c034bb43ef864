"""Identity documents: checks of their numbers, and their canonical form (docs/identifiers.md §2).

All spellings of one document have the same canonical form. Only that form is hashed. Nothing here stores or prints a
number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from hutong.type.v1 import identity_pb2
from hutong_texts import Text, english

RESIDENT_ID_CARD = identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD
HK_MACAO_TRAVEL_PERMIT = identity_pb2.DOCUMENT_TYPE_HK_MACAO_TRAVEL_PERMIT
TAIWAN_TRAVEL_PERMIT = identity_pb2.DOCUMENT_TYPE_TAIWAN_TRAVEL_PERMIT
RESIDENCE_PERMIT = identity_pb2.DOCUMENT_TYPE_RESIDENCE_PERMIT
PASSPORT = identity_pb2.DOCUMENT_TYPE_PASSPORT
FOREIGN_PERMANENT_RESIDENT_CARD = identity_pb2.DOCUMENT_TYPE_FOREIGN_PERMANENT_RESIDENT_CARD

_GB_11643 = re.compile(r"[0-9]{17}[0-9X]")
_HK_MACAO = re.compile(r"([HM][0-9]{8})(?:[0-9]{2})?")
_TAIWAN = re.compile(r"([0-9]{8})(?:[0-9]{1,2}(?:\([A-Z]\))?)?")
_PASSPORT = re.compile(r"[0-9A-Z]{5,20}")
_FOREIGN_RESIDENT = re.compile(r"[A-Z]{3}[0-9]{12}|[0-9]{17}[0-9X]")
_RESIDENCE_PERMIT_REGIONS = ("810000", "820000", "830000")
_CHECK_CHARACTERS = "1X864209753"
"""The check characters of GB 11643. The first 17 digits are read as a number to the base 13. Its remainder modulo 11 is
the index."""


def has_check_character(number: str) -> bool:
    """Return whether the 18th character fits the 17 digits before it (ISO 7064 MOD 11-2, GB 11643).

    The standard weighs the digits by powers of 2 modulo 11. Because 13 equals 2 modulo 11, int() to the base 13 gives
    the same sum. Every uploaded person is checked here, and python-stdnum's general form takes nine times as long.
    """
    return _CHECK_CHARACTERS[int(number[:17], 13) % 11] == number[17]


class DocumentClass(NamedTuple):
    """A class of documents whose numbers are unique within the class. A subject key is made from class and number.

    `type` is the number of the document type that names the class. The issuing country is empty except for passports.
    """

    type: int
    issuing_country: str


_RESIDENT_NUMBERS = DocumentClass(RESIDENT_ID_CARD, "")


class Document(NamedTuple):
    """A document in canonical form. Its repr omits the number, so that no log or traceback can contain it.

    Attributes:
        type: the stated type of the document. The subject is identified by `document_class`, not by this type.
    """

    type: int
    number: str
    issuing_country: str = ""

    @property
    def document_class(self) -> DocumentClass:
        """The class of the document (docs/identifiers.md §2).

        Every number with the form and the check character of GB 11643 belongs to the class of resident identity cards,
        whatever type was stated. Clerks label residence permits and foreign permanent resident cards as resident
        identity cards, and each such number is issued to one person only.
        """
        type_, number, country = self
        if type_ == RESIDENT_ID_CARD:
            # The class of resident identity cards is made only once, because most documents are such cards.
            return DocumentClass(type_, country) if country else _RESIDENT_NUMBERS
        return _RESIDENT_NUMBERS if is_resident_number(number) else DocumentClass(type_, country)

    def __repr__(self) -> str:
        return f"Document(type={self.type})"


def is_resident_number(number: str) -> bool:
    """Whether a canonical number has the form and the check character of GB 11643."""
    return _GB_11643.fullmatch(number) is not None and has_check_character(number)


class BadDocument(ValueError):
    """A number that is impossible for its type.

    Attributes:
        field: the faulty field, `number` or `issuing_country`.
        expected: what the field must be. It never contains the number.
    """

    def __init__(self, faulty_field: str, expected: Text) -> None:
        super().__init__(expected)
        self.field = faulty_field
        self.expected = expected


def canonical_document(type_: int, number: str, issuing_country: str = "") -> Document:
    """Return the canonical form of a document, by the rule of its type. It is in upper case and without spaces.

    Of numbers under GB 11643 only the check character is checked. It is not checked whether the county existed in the
    year of birth, because permits of Hong Kong, Macao and Taiwan residents (810000, 820000, 830000) would fail.

    Raises:
        BadDocument: the number is impossible, or issuing_country is missing or not allowed.
    """
    number = number.replace(" ", "").upper()
    if type_ == RESIDENT_ID_CARD:
        if not _GB_11643.fullmatch(number):
            raise BadDocument("number", english("a resident identity card has 17 digits and a check character"))
        if not has_check_character(number):
            raise BadDocument("number", english("the check character does not fit the number"))
    elif type_ == PASSPORT:
        if not issuing_country:
            raise BadDocument(
                "issuing_country", english("a passport needs the country that issued it, as ISO 3166-1 alpha-3")
            )
        if not _PASSPORT.fullmatch(number):
            raise BadDocument("number", english("a passport number has 5 to 20 letters and digits"))
        return Document(type_, number, issuing_country)
    elif type_ == HK_MACAO_TRAVEL_PERMIT:
        number = _leading(
            _HK_MACAO, number, english("the permit has H or M and 8 digits, or 10 with the reissue digits")
        )
    elif type_ == TAIWAN_TRAVEL_PERMIT:
        number = _leading(_TAIWAN, number, english("the permit has 8 digits, and perhaps an issue count after them"))
    elif type_ == RESIDENCE_PERMIT:
        if not _GB_11643.fullmatch(number) or not number.startswith(_RESIDENCE_PERMIT_REGIONS):
            raise BadDocument(
                "number", english("a residence permit has 18 characters and begins with 810000, 820000 or 830000")
            )
        if not has_check_character(number):
            raise BadDocument("number", english("the check character does not fit the number"))
    elif type_ == FOREIGN_PERMANENT_RESIDENT_CARD:
        if not _FOREIGN_RESIDENT.fullmatch(number):
            raise BadDocument("number", english("the card has 3 letters and 12 digits, or 18 characters"))
        if len(number) == 18 and not has_check_character(number):
            raise BadDocument("number", english("the check character does not fit the number"))
    if issuing_country:
        raise BadDocument("issuing_country", english("only a passport names the country that issued it"))
    return _new_document((type_, number, ""))


def canonical_documents(
    types: Iterable[int], numbers: Iterable[str], issuing_countries: Iterable[str]
) -> list[Document | BadDocument]:
    """Return the canonical form of each document; for an impossible one, the error that `canonical_document` raises.

    An upload has thousands of documents. Most are resident identity cards, with a number in canonical form that is only
    checked.
    """
    found: list[Document | BadDocument] = []
    for type_, number, country in zip(types, numbers, issuing_countries, strict=True):
        if type_ == RESIDENT_ID_CARD and not country and is_resident_number(number):
            found.append(_new_document((type_, number, "")))
            continue
        try:
            found.append(canonical_document(type_, number, country))
        except BadDocument as error:
            found.append(error)
    return found


_new_document = partial(tuple.__new__, Document)
"""Makes a Document from a tuple, at half the cost of `Document(...)`. Every uploaded person needs a Document."""


def _leading(pattern: re.Pattern[str], number: str, expected: Text) -> str:
    """Return the part of a permit's number that stays the same for life.

    The digits that count reissues are left out.
    """
    match = pattern.fullmatch(number)
    if match is None:
        raise BadDocument("number", expected)
    return match.group(1)
