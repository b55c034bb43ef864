"""Make tubes of rows. Consecutive rows with the same tube code are one tube; a row without a code is a tube."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import NamedTuple, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.upload_pb2 import Tube, TubePerson
from hutong.type.v1.identity_pb2 import DOCUMENT_TYPE_PASSPORT, IdentityDocument
from hutong.type.v1.outcome_pb2 import OUTCOME_UNSPECIFIED

from hutong_client.tables import values
from hutong_client.tables.faults import BadCell, Fault
from hutong_client.tables.rows import Cell, Row
from hutong_client.tables.times import parse_time

MAX_PERSONS = 20
"""The contract's limit for the size of a pool."""
_MAX_ROWS = 5_000
"""Rows of one tube code that are kept in memory. A file with more of them repeats one code in every row."""
_MAX_ROW_CHARACTERS = 8_000
"""Far more than any valid row has. A full pool of such rows still fits into a batch."""
_TIMES = {
    "sample_date": "sample_time",
    "collect_date": "receive_time",
    "test_date": "test_time",
    "report_date": "report_time",
}
_SHARED = {"nat_result": "result", "pool_size": "pool size", "sample_type": "specimen", "check_project": "method"}

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Reading:
    """Options for reading a file.

    Attributes:
        zone: the zone of times without one. If None, such times are faults.
        region: the region of sampling for rows without one. If empty, such rows are faulty.
    """

    zone: tzinfo | None = None
    region: str = ""


@dataclass(frozen=True, slots=True)
class ReadTube:
    """A tube and its rows. `rows[i]` is the row of `tube.persons[i]`."""

    tube: Tube
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be converted to a message without guessing."""

    row: Row
    faults: Sequence[Fault]


def read_tubes(rows: Iterable[Row], reading: Reading) -> Iterator[ReadTube | BadRow]:
    """Yield tubes and bad rows in the order of the file. A bad row comes before the tube of its group."""
    for group in _group(rows):
        yield from _Group(group, reading).split()


def _group(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield groups of consecutive rows with the same code. A row that cannot be read does not end a group."""
    group: list[Row] = []
    code: Cell = ""
    for row in rows:
        own: Cell = code if row.fault else row.cells.get("tube_code", "")
        if group and (own != code or not own or len(group) > _MAX_ROWS):
            yield group
            group = []
        group.append(row)
        code = own
    if group:
        yield group


class _Stated(NamedTuple):
    """The values that must be equal in all rows of a tube, in the order of _SHARED."""

    outcome: values.Outcome
    pool_size: int
    specimen: values.Specimen
    method: values.Method


@dataclass(frozen=True, slots=True)
class _Good:
    """A readable row. `site` is the region and the name of the sampling site."""

    row: Row
    stated: _Stated
    site: tuple[str, str]
    times: Mapping[str, Timestamp]
    person: TubePerson

    def shares_message(self, other: _Good) -> bool:
        """Check whether both rows fit into one message, because their sampling site and all times are equal."""
        return self.site == other.site and self.times == other.times


class _Group:
    """The rows of one tube code."""

    def __init__(self, rows: Sequence[Row], reading: Reading) -> None:
        self._rows = rows
        self._read = [_read_row(row, len(rows), reading) for row in rows]

    def split(self) -> Iterator[ReadTube | BadRow]:
        """Yield the tube, or several with the same code if sampling sites or times differ or reports repeat."""
        mismatch = self._mismatch()
        run: list[_Good] = []
        for item in self._read:
            if isinstance(item, BadRow):
                yield item
            elif mismatch:
                yield BadRow(item.row, (mismatch,))
            else:
                if run and (not run[0].shares_message(item) or _repeats(item, run)):
                    yield _build(run)
                    run = []
                run.append(item)
        if run:
            yield _build(run)

    def _mismatch(self) -> Fault | None:
        """Return why the rows contradict each other as one tube; None if they do not."""
        if len(self._rows) > _MAX_ROWS:
            return Fault("tube_code", "POOL_MISMATCH", f"more than {_MAX_ROWS} consecutive rows have this tube code")
        good = [item for item in self._read if isinstance(item, _Good)]
        for position, (column, word) in enumerate(_SHARED.items()):
            first = next(iter(good), None)
            other = next((item for item in good if first and item.stated[position] != first.stated[position]), None)
            if first and other:
                text = f"rows {first.row.number} and {other.row.number} of this tube differ in the {word}"
                return Fault(column, "POOL_MISMATCH", f"{text}; a tube has only one")
        unread = next((item for item in self._read if isinstance(item, BadRow) and _is_of_outcome(item)), None)
        if unread:
            text = f"the result of row {unread.row.number} of this tube cannot be read, so the tube has no known result"
            return Fault("nat_result", "POOL_MISMATCH", text)
        persons = len({item.person.report_number for item in good})
        size = min(good[0].stated.pool_size, MAX_PERSONS) if good else 0
        if persons > max(size, 1):
            return Fault("pool_size", "POOL_MISMATCH", f"{persons} persons do not fit a tube for {size}")
        return None


def _repeats(item: _Good, run: Sequence[_Good]) -> bool:
    """Check whether the run has the same report number. The service then finds a duplicate or a conflict."""
    return any(item.person.report_number == other.person.report_number for other in run)


def _is_of_outcome(bad: BadRow) -> bool:
    return any(fault.column == "nat_result" for fault in bad.faults)


def _read_row(row: Row, rows: int, reading: Reading) -> _Good | BadRow:
    if row.fault:
        return BadRow(row, (Fault("", "INVALID_FIELD", row.fault),))
    reader = _Reader(row)
    size = reader.read("pool_size", values.read_pool_size) or min(rows, MAX_PERSONS)
    outcome = reader.read("nat_result", lambda cell: values.read_outcome(cell, size))
    stated = _Stated(
        outcome or OUTCOME_UNSPECIFIED,
        size,
        values.read_specimen(row.cells.get("sample_type")),
        values.read_method(row.cells.get("check_project")),
    )
    times = {name: reader.read(column, lambda cell: parse_time(cell, reading.zone)) for column, name in _TIMES.items()}
    region = reader.read("sample_region", values.read_code) or reading.region
    if not region:
        reader.fault("sample_region", "the region is missing; fill the cell, or upload with --region")
    reader.read("tube_code", values.read_code)
    person = TubePerson(document=_read_document(reader), report_number=reader.read("report_no", values.read_code) or "")
    site = (region, values.read_words(row.cells.get("sample_orgname", "")))
    good = _Good(row, stated, site, {name: time for name, time in times.items() if time}, person)
    if sum(map(len, row.original)) > _MAX_ROW_CHARACTERS:
        reader.fault("", "the row is far too long; look for a stray quotation mark")
    return BadRow(row, tuple(reader.faults)) if reader.faults else good


def _read_document(reader: _Reader) -> IdentityDocument:
    number = reader.read("card_no", lambda cell: values.read_code(cell, "BAD_DOCUMENT_NUMBER")) or ""
    document = IdentityDocument(
        number=number,
        name=values.read_words(reader.row.cells.get("name", "")),
        issuing_country=str(reader.row.cells.get("issuing_country", "")),
    )
    if number or "card_type" in reader.row.cells:
        kind = reader.read("card_type", lambda cell: values.read_document_type(cell, number), needed=True)
        document.type = kind or document.type
    if document.type != DOCUMENT_TYPE_PASSPORT:
        # Files give a nationality for every person, but the contract allows it for passports only.
        document.issuing_country = ""
    return document


class _Reader:
    """Reader of a row's cells that gathers all faults."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.faults: list[Fault] = []

    def read(self, column: str, read: Callable[[Cell], Value], *, needed: bool = False) -> Value | None:
        """Return a cell's value; None if it is faulty or empty. The service reports missing values."""
        cell = self.row.cells.get(column)
        if cell is None and not needed:
            return None
        try:
            return read(cell)  # type: ignore[arg-type] # the reader of a needed cell reports None itself
        except BadCell as error:
            self.faults.append(Fault(column, error.reason, error.description))
            return None

    def fault(self, column: str, description: str) -> None:
        """Record a fault that does not come from reading one cell."""
        self.faults.append(Fault(column, "INVALID_FIELD", description))


def _build(run: Sequence[_Good]) -> ReadTube:
    first = run[0]
    region, site = first.site
    tube = Tube(
        tube_code=values.read_code(first.row.cells.get("tube_code", first.person.report_number)),
        pool_size=first.stated.pool_size,
        specimen=first.stated.specimen,
        method=first.stated.method,
        outcome=first.stated.outcome,
        sample_region=region,
        sample_site=site,
        persons=[item.person for item in run],
        **first.times,
    )
    return ReadTube(tube, [item.row for item in run])
