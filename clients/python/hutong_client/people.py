"""People to decide for, from a file or a pipe."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.json_format import ParseDict, ParseError
from hutong.type.v1.identity_pb2 import IdentityDocument
from hutong.verification.v1.verification_service_pb2 import VerifyRequest

from hutong_client.options import PURPOSE, read_instant
from hutong_client.tables.columns import find_column
from hutong_client.tables.encoding import detect_encoding
from hutong_client.tables.faults import BadCell
from hutong_client.tables.rows import NotATable
from hutong_client.tables.values import read_code, read_document_type

_OWN_COLUMNS = ("region", "purpose", "arriving_from", "use_time")
_UNREADABLE = (ParseError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""What the parsers of JSON and of messages raise: for no JSON, another shape, endless numbers, endless brackets."""
_MAX_MARK_CHARACTERS = 64
"""The contract's limit of a correlation_id."""
_MAX_QUESTION_BYTES = 8_000
"""More than any question within the contract's limits takes; 500 of them fit a message."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One person's question.

    Attributes:
        row: its row in the file, or its line on the pipe. It alone tells questions apart.
        mark: the gate's own mark, which may stand twice; the row's number where it has none.
        request: the question.
        fault: why it cannot be put; empty when it can.
    """

    row: int
    mark: str
    request: VerifyRequest
    fault: str = ""


def read_people(path: Path, template: VerifyRequest) -> Iterator[Asked]:
    """The questions of a file. What a row does not say is as in the template.

    Raises:
        NotATable: the file is no table of people.
    """
    with path.open("rb") as file:
        start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise NotATable("the file is empty")
    with path.open(encoding=detect_encoding(path), newline="") as text:
        if start.startswith(b"{"):
            yield from (read_question(number, line, template) for number, line in enumerate(text, 1) if line.strip())
            return
        rows = csv.reader(text)
        columns = [_column(title) for title in next(rows)]
        if "card_no" not in columns:
            raise NotATable("the first row must name the columns, card_no (证件号码) among them")
        for number, cells in enumerate(rows, start=2):
            if any(cells):
                yield _read_row(number, dict(zip(columns, map(str.strip, cells), strict=False)), template)


def read_question(row: int, line: str, template: VerifyRequest) -> Asked:
    """A line of NDJSON: a VerifyRequest, or a StreamVerifyRequest with a mark of its own."""
    mark, request = str(row), VerifyRequest()
    request.CopyFrom(template)
    try:
        content = json.loads(line)
        if not isinstance(content, dict):
            return Asked(row, mark, request, "the line is no JSON object")
        mark = _read_mark(content.get("correlation_id"), mark)
        own = content.get("request", content)
        if not isinstance(own, dict):
            return Asked(row, mark, request, "the request is no JSON object")
        request.MergeFrom(ParseDict(own, VerifyRequest()))
    except BadCell as error:
        return Asked(row, mark, request, error.description)
    except _UNREADABLE:
        # What the parser says could repeat what stands in the line.
        return Asked(row, mark, request, "the line is no VerifyRequest in JSON")
    if request.ByteSize() > _MAX_QUESTION_BYTES:
        return Asked(row, mark, template, "the question is far too long; look for what does not belong in it")
    return Asked(row, mark, request)


def _read_mark(given: object, row: str) -> str:
    """A gate's own mark; the row's number where it gives none."""
    if given is None:
        return row
    mark = str(given)
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise BadCell("the correlation_id is neither text nor a whole number")
    if not mark.isprintable():
        # A line break would make one answer look like two; half a character, which JSON can spell, ends the printing.
        raise BadCell("the correlation_id holds a character that cannot be printed")
    if len(mark) > _MAX_MARK_CHARACTERS:
        raise BadCell(f"the correlation_id has more than {_MAX_MARK_CHARACTERS} characters")
    return mark


def read_lines(descriptor: int) -> Iterator[str]:
    """Lines as they come. Read without Python's buffer, whose lock would hold up the end of the command."""
    waiting = b""
    while chunk := os.read(descriptor, 65_536):
        *lines, waiting = (waiting + chunk).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
    if waiting:
        yield waiting.decode("utf-8", "replace")


def _column(title: str) -> str:
    plain = title.strip().lower()
    return plain if plain in _OWN_COLUMNS else find_column(title) or plain


def _read_row(row: int, cells: dict[str, str], template: VerifyRequest) -> Asked:
    request = VerifyRequest()
    request.CopyFrom(template)
    try:
        number = read_code(cells.get("card_no", ""))
        request.document.CopyFrom(
            IdentityDocument(
                type=read_document_type(cells.get("card_type") or None, number),
                number=number,
                name=cells.get("name", ""),
                issuing_country=cells.get("issuing_country", ""),
            )
        )
        if cells.get("purpose"):
            request.purpose = PURPOSE.convert(cells["purpose"], None, None)  # type: ignore[assignment]
        if cells.get("use_time"):
            request.use_time.CopyFrom(read_instant(cells["use_time"]))
    except BadCell as error:
        return Asked(row, str(row), request, error.description)
    request.region = cells.get("region") or request.region
    request.arriving_from = cells.get("arriving_from") or request.arriving_from
    return Asked(row, str(row), request)
