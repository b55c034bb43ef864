"""People to decide for, from a file or a pipe."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import click
from google.protobuf.json_format import ParseDict, ParseError
from hutong.type.v1.identity_pb2 import IdentityDocument
from hutong.type.v1.purpose_pb2 import Purpose
from hutong.verification.v1.verification_service_pb2 import VerifyRequest

from hutong_client.cli.options import PURPOSE, read_instant
from hutong_client.tables.columns import ALIASES, Vocabulary
from hutong_client.tables.encoding import detect_encoding
from hutong_client.tables.faults import BadCell
from hutong_client.tables.open import detect_format, open_table
from hutong_client.tables.rows import NotATable, Row
from hutong_client.tables.values import read_code, read_document_type, read_words

PEOPLE = Vocabulary(
    {column: ALIASES[column] for column in ("card_no", "card_type", "name", "issuing_country")}
    | {"region": (), "purpose": (), "arriving_from": (), "use_time": ()},
    required=("card_no",),
)
"""What is asked about people."""
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
    if detect_format(path) == "ndjson":
        with path.open(encoding=detect_encoding(path), newline="") as text:
            yield from (read_question(number, line, template) for number, line in enumerate(text, 1) if line.strip())
        return
    with open_table(path, PEOPLE) as table:
        rows = iter(table)
        first = next(rows, None)
        if first is None:
            raise NotATable("the file has a header and no rows; there is nobody to decide for")
        yield from (_read_row(row, template) for row in chain((first,), rows))


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
    return _ask(row, mark, request)


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


def _read_row(row: Row, template: VerifyRequest) -> Asked:
    mark, request, cells = str(row.number), VerifyRequest(), row.cells
    request.CopyFrom(template)
    if row.fault:
        return Asked(row.number, mark, request, row.fault)
    try:
        number = read_code(cells.get("card_no", ""))
        request.document.CopyFrom(
            IdentityDocument(
                type=read_document_type(cells.get("card_type"), number),
                number=number,
                name=read_words(cells.get("name", "")),
                issuing_country=str(cells.get("issuing_country", "")),
            )
        )
        request.region = read_code(cells.get("region", request.region))
        request.arriving_from = read_code(cells.get("arriving_from", request.arriving_from))
        if "purpose" in cells:
            request.purpose = _read_purpose(str(cells["purpose"]))
        if "use_time" in cells:
            request.use_time.CopyFrom(read_instant(str(cells["use_time"])))
    except BadCell as error:
        return Asked(row.number, mark, request, error.description)
    return _ask(row.number, mark, request)


def _read_purpose(word: str) -> Purpose.ValueType:
    try:
        return Purpose.ValueType(PURPOSE.convert(word, None, None))
    except click.UsageError as error:
        raise BadCell(f"the purpose is {error.message}") from None


def _ask(row: int, mark: str, request: VerifyRequest) -> Asked:
    """The question, unless it is so large that the whole call would be refused for it."""
    if request.ByteSize() > _MAX_QUESTION_BYTES:
        return Asked(row, mark, request, "the question is far too long; look for what does not belong in it")
    return Asked(row, mark, request)
