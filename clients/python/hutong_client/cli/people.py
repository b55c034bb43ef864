"""Read questions about people from a file or a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import chain
from pathlib import Path

import click
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.type.v1.identity_pb2 import DOCUMENT_TYPE_PASSPORT, IdentityDocument
from hutong.type.v1.purpose_pb2 import Purpose
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong_texts import list_words, tr

from hutong_client.cli.options import PURPOSE, read_instant
from hutong_client.formatting import SHANGHAI
from hutong_client.tables.cells import ERROR_VALUE
from hutong_client.tables.columns.header import TIME_OF_DAY, name_columns
from hutong_client.tables.columns.vocabulary import ALIASES, Vocabulary
from hutong_client.tables.faults import BadCell
from hutong_client.tables.formats.encoding import detect_encoding
from hutong_client.tables.open import detect_format, open_table
from hutong_client.tables.placeholders import drop_placeholders
from hutong_client.tables.pools.footers import describe_no_person, is_no_person
from hutong_client.tables.regions import read_region_cell
from hutong_client.tables.rows import Cell, NotATable, Row
from hutong_client.tables.times import join_time, parse_time
from hutong_client.tables.values import read_country, read_document_number, read_document_type, read_words
from hutong_client.tables.words import ERROR_VALUES

PEOPLE = Vocabulary(
    {column: ALIASES[column] for column in ("card_no", "card_type", "name", "issuing_country")}
    | {
        "region": (),
        "purpose": (),
        "arriving_from": (),
        "use_time": (
            "使用时间",
            "使用日期",
            "出发时间",
            "出发日期",
            "发车时间",
            "发车日期",
            "起飞时间",
            "起飞日期",
            "开船时间",
            "入住时间",
            "departure",
            "departure_time",
            "departure_date",
        ),
    },
    required=("card_no",),
)
"""Columns of a file of people."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{33,}")
"""A holder's token: base64url, longer than the number of any document may be."""
_BARE_NUMBER = re.compile(r"[0-9A-Za-z][0-9A-Za-z ()-]*")
_MOST_CELLS = 4
"""The cells of a line on the pipe: number, name, type and issuing country. The last three may be left out."""
_UNREADABLE = (ParseError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""Errors of the JSON and protobuf parsers, for text that is not JSON, other types, huge numbers or deep nesting."""
_MAX_MARK_CHARACTERS = 64
"""The contract's limit for a correlation_id."""
_MAX_QUESTION_BYTES = 8_000
"""The most bytes of a question. A question within the contract's limits is never larger, and 500 questions of this size
fit into one 4 MiB message."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about one person.

    Attributes:
        row: its row in the file, or its line on the pipe. Only the row identifies a question.
        mark: the gate's correlation_id, which need not be unique; the row number if the gate gives none.
        request: the question.
        fault: why the question cannot be asked; empty if it can.
        cells: the cells of its row as they are in the file; empty for NDJSON and for the pipe.
    """

    row: int
    mark: str
    request: VerifyRequest
    fault: str = ""
    cells: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class People:
    """The people of an open file.

    Attributes:
        header: the titles of the cells in `Asked.cells`; empty for NDJSON.
        questions: the questions in the order of the file. They can be read once.
        notices: what the reader must know before the questions are asked, such as hidden sheets.
    """

    header: Sequence[str]
    questions: Iterator[Asked]
    notices: Sequence[str] = ()


@contextlib.contextmanager
def open_people(path: Path, template: VerifyRequest, encoding: str = "", zone: tzinfo = SHANGHAI) -> Iterator[People]:
    """Open a file of people. Fields that a row does not set are taken from the template.

    Args:
        path: the file.
        template: the question without a person.
        encoding: the encoding of a text file; empty to detect it.
        zone: the zone of the times without one.

    Raises:
        NotATable: the file is not a table of people, or neither it nor the template names the region and the purpose.
    """
    if detect_format(path) == "ndjson":
        with path.open(encoding=detect_encoding(path, encoding), newline="") as text:
            lines = ((number, line) for number, line in enumerate(text, 1) if line.strip())
            yield People((), (read_question(number, line, template) for number, line in lines))
        return
    with open_table(path, PEOPLE, encoding) as table:
        rows = iter(table)
        first = next(rows, None)
        if first is None:
            raise NotATable(tr("the file has a header and no rows; there is no person to decide for"))
        _check_place(first, table.header, template)
        rows = drop_placeholders(chain((first,), rows))
        yield People(table.header, (_read_row(row, template, zone) for row in rows), table.notices)


def _check_place(first: Row, header: Sequence[str], template: VerifyRequest) -> None:
    columns = {*name_columns(header, PEOPLE).values(), *first.cells}
    missing = [f"--{name}" for name in ("region", "purpose") if not getattr(template, name) and name not in columns]
    if missing:
        raise NotATable(
            tr(
                "the file does not say where and for what people are checked; give {options}",
                options=list_words(missing),
            )
        )


def read_line(row: int, line: str, template: VerifyRequest) -> Asked:
    """Read a line of the pipe: NDJSON, a holder's token, or a number with a name after a tab.

    The type of the document and its issuing country may follow after further tabs. A line with the number alone is
    asked too; the service answers it with an error unless the caller may leave out the name.
    """
    line = line.removeprefix("\ufeff")
    text = line.strip()
    if "\ufffd" in text:
        # A damaged name matches no result, so the holder could be refused.
        fault = tr("the line is not text in its encoding; give the right one by --encoding")
        return Asked(row, str(row), template, fault)
    if text.startswith(("{", "[")):
        return read_question(row, text, template)
    request = VerifyRequest()
    request.CopyFrom(template)
    if _TOKEN.fullmatch(text):
        request.holder_token = text
        return _ask(row, str(row), request)
    cells = [cell.strip() for cell in line.strip("\r\n").split("\t")]
    try:
        if len(cells) > _MOST_CELLS:
            raise BadCell(
                tr("the line has more than four cells: number, name, type and issuing country, with tabs between them")
            )
        number, name, kind, country = [*cells, "", "", ""][:_MOST_CELLS]
        if not _BARE_NUMBER.fullmatch(number):
            raise BadCell(tr("the line is no number, tab and name, no token and no JSON; put a tab after the number"))
        request.document.CopyFrom(
            IdentityDocument(
                type=read_document_type(kind or None, number),
                number=number,
                name=read_words(name),
                issuing_country=read_country(country) if country else "",
            )
        )
    except BadCell as error:
        return Asked(row, str(row), request, error.description)
    return _ask(row, str(row), request)


def read_question(row: int, line: str, template: VerifyRequest) -> Asked:
    """Read a line of NDJSON: a VerifyRequest, or a StreamVerifyRequest with a correlation_id."""
    mark, request = str(row), VerifyRequest()
    request.CopyFrom(template)
    try:
        content = json.loads(line)
        if not isinstance(content, dict):
            return Asked(row, mark, request, tr("the line is not a JSON object"))
        mark = _read_mark(content.get("correlation_id"), mark)
        own = content.get("request", content)
        if not isinstance(own, dict):
            return Asked(row, mark, request, tr("the request is not a JSON object"))
        request.MergeFrom(ParseDict(own, VerifyRequest()))
    except BadCell as error:
        return Asked(row, mark, request, error.description)
    except _UNREADABLE:
        # The parser's message is not used, because it could repeat an identity from the line.
        return Asked(row, mark, request, tr("the line is not a VerifyRequest in JSON"))
    return _ask(row, mark, request)


def _read_mark(given: object, row: str) -> str:
    """Return the gate's correlation_id, or the row number if it gives none."""
    if given is None:
        return row
    mark = str(given)
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise BadCell(tr("the correlation_id is neither text nor a whole number"))
    if not mark.isprintable():
        # A line break would make one answer look like two. A lone surrogate, which JSON can escape, cannot be printed.
        raise BadCell(tr("the correlation_id has a character that cannot be printed"))
    if len(mark) > _MAX_MARK_CHARACTERS:
        raise BadCell(
            tr(
                "the correlation_id has more than {max_mark_characters} characters",
                max_mark_characters=_MAX_MARK_CHARACTERS,
            )
        )
    return mark


def read_lines(descriptor: int, encoding: str = "utf-8") -> Iterator[str]:
    """Yield lines as they arrive. Bytes that are not text in the encoding become U+FFFD.

    The encoding must be one that extends ASCII. Python's buffered reader is not used, because its lock would delay the
    end of the command.
    """
    waiting = b""
    while chunk := os.read(descriptor, 65_536):
        *lines, waiting = (waiting + chunk).split(b"\n")
        yield from (line.decode(encoding, "replace") for line in lines)
    if waiting:
        yield waiting.decode(encoding, "replace")


def _read_row(row: Row, template: VerifyRequest, zone: tzinfo) -> Asked:
    mark, request, cells = str(row.number), VerifyRequest(), row.cells
    request.CopyFrom(template)
    fault = row.fault
    if not fault and not ERROR_VALUES.isdisjoint(cells.values()):
        fault = ERROR_VALUE
    if fault:
        return Asked(row.number, mark, request, tr(fault), row.original)
    try:
        number = read_document_number(cells.get("card_no", ""))
        kind = read_document_type(cells.get("card_type"), number)
        # Files give a nationality for every person, but the contract allows it for passports only.
        has_country = kind == DOCUMENT_TYPE_PASSPORT and "issuing_country" in cells
        request.document.CopyFrom(
            IdentityDocument(
                type=kind,
                number=number,
                name=read_words(cells.get("name", "")),
                issuing_country=read_country(cells["issuing_country"]) if has_country else "",
            )
        )
        request.region = read_region_cell(cells.get("region", request.region))
        request.arriving_from = read_region_cell(cells.get("arriving_from", request.arriving_from))
        if "purpose" in cells:
            request.purpose = _read_purpose(str(cells["purpose"]))
        if "use_time" in cells:
            request.use_time.CopyFrom(_read_use_time(cells, zone))
    except BadCell as error:
        return Asked(row.number, mark, request, _describe_fault(row, error), row.original)
    return _ask(row.number, mark, request, row.original)


def _describe_fault(row: Row, error: BadCell) -> str:
    """Return why a row cannot be asked. A row with a time of use is of a person whose name may begin like a footer."""
    has_time = str(row.cells.get("use_time", ""))[:1].isdigit()
    return error.description if has_time or not is_no_person(row) else describe_no_person(row)


def _read_use_time(cells: Mapping[str, Cell], zone: tzinfo) -> Timestamp:
    time, of_day = cells["use_time"], cells.get("use_time" + TIME_OF_DAY)
    if of_day is not None:
        time = join_time(time, of_day)
    return read_instant("now") if time == "now" else parse_time(time, zone)


def _read_purpose(word: str) -> Purpose.ValueType:
    try:
        return Purpose.ValueType(PURPOSE.convert(word, None, None))
    except click.UsageError as error:
        raise BadCell(tr("the purpose is {message}", message=error.message)) from None


def _ask(row: int, mark: str, request: VerifyRequest, cells: Sequence[str] = ()) -> Asked:
    """Return the question, with a fault if it is so large that the whole call would be refused because of it."""
    if request.ByteSize() > _MAX_QUESTION_BYTES:
        return Asked(
            row, mark, request, tr("the question is far too long; look for text that does not belong in it"), cells
        )
    return Asked(row, mark, request, cells=cells)
