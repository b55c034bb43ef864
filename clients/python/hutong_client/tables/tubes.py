"""Make tubes of rows. Consecutive rows with the same tube code are one tube; a row without a code is a tube."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.upload_pb2 import Tube, TubePerson
from hutong.type.v1.identity_pb2 import DOCUMENT_TYPE_PASSPORT, IdentityDocument
from hutong.type.v1.outcome_pb2 import OUTCOME_UNSPECIFIED
from hutong_texts import english, tr

from hutong_client.tables import values
from hutong_client.tables.cells import Cells
from hutong_client.tables.columns.vocabulary import OF_REJECTED, REMARK, RESULTS, Vocabulary
from hutong_client.tables.completion import complete_cells
from hutong_client.tables.faults import BadCell, Fault
from hutong_client.tables.pools.groups import MAX_PERSONS, MAX_ROWS, group_rows
from hutong_client.tables.pools.sizes import POOLED, find_pool_size, read_pool_size, read_size
from hutong_client.tables.regions import read_region_cell
from hutong_client.tables.rows import Cell, Row
from hutong_client.tables.tested import describe_test
from hutong_client.tables.words import ERROR_VALUES

_MAX_ROW_CHARACTERS = 8_000
"""The most characters of a row, far more than any valid row has. A full pool of such rows still fits into a batch."""
_TIMES = {
    "sample_date": "sample_time",
    "collect_date": "receive_time",
    "test_date": "test_time",
    "report_date": "report_time",
}
_SHARED = (
    ("nat_result", english("result")),
    ("pool_size", english("pool size")),
    ("sample_type", english("specimen")),
    ("check_project", english("method")),
    ("check_project", english("item")),
)
"""Columns that must be equal in all rows of a tube, in the order of `_Stated`."""
_OF_TUBE = ("pool_size", "sample_type", "check_project", "check_method")
"""Columns that only one row of a tube may fill, because they describe the tube. A result is never filled in."""
_DOUBTFUL = frozenset({"nat_result", "pool_size", "sample_type", "check_project"})
"""Columns in which a fault of one row leaves the meaning of the whole tube unknown."""

_SCATTERED = english(
    "other rows of this tube code stand elsewhere in the file, and no row says how many "
    "persons the tube was made for; put the rows of the tube together, and write its "
    "pool size (混检人数)"
)
_NOT_COUNTED = english(
    "the size of the pool is missing; other persons of the tube may be stored already, "
    "so the rows of a file of rejected rows are not counted; write how many persons the "
    "tube was made for, 1 for a tube of this person alone"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """Options for reading a file.

    Attributes:
        zone: the zone of times without a zone. If None, such times are faults.
        region: the region of sampling for rows that name no region. If empty, such rows are faulty.
        items: the items that are admitted besides the default item. Rows of other items are faulty.
        vocabulary: the columns of the file.
    """

    zone: tzinfo | None = None
    region: str = ""
    items: frozenset[str] = frozenset()
    vocabulary: Vocabulary = RESULTS


@dataclass(frozen=True, slots=True)
class ReadTube:
    """A tube and its rows. `rows[i]` is the row of `tube.persons[i]`. `shared`: cells that only some rows fill."""

    tube: Tube
    rows: Sequence[Row]
    shared: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be converted to a message without guessing.

    `filled` holds the cells that it needs to be sent alone.
    """

    row: Row
    faults: Sequence[Fault]
    filled: Mapping[str, Cell] = field(default_factory=dict)

    def without_size(self) -> BadRow:
        """Return the row for a tube whose rows contradict each other, so that its size is in doubt."""
        return replace(self, filled={column: cell for column, cell in self.filled.items() if column != "pool_size"})


def read_tubes(rows: Iterable[Row], reading: Reading, scattered: Container[object] = ()) -> Iterator[ReadTube | BadRow]:
    """Yield tubes and bad rows in the order of the file. A bad row comes before the tube of its group.

    Args:
        rows: the rows of the file.
        reading: how to read them.
        scattered: the tube codes whose rows stand apart. Such a tube must state its size, because its rows are not
            counted.
    """
    for group in group_rows(rows):
        fault = group.fault
        if not fault and _must_be_counted(group.rows) and group.rows[0].cells["tube_code"] in scattered:
            fault = Fault("tube_code", "POOL_MISMATCH", _SCATTERED)
        if fault:
            yield from (_reject(row, fault) for row in group.rows)
        else:
            yield from _Tube(group.rows, reading).split()


def _must_be_counted(rows: Sequence[Row]) -> bool:
    """Check whether a tube does not state its size, so that its rows must be counted."""
    first = rows[0].cells
    if "pool_size" in first and read_size(first["pool_size"]) != POOLED:
        return False
    sizes = (read_size(cell) for row in rows if (cell := find_pool_size(row.cells)) is not None)
    return "tube_code" in first and all(size == POOLED for size in sizes)


def _reject(row: Row, fault: Fault) -> BadRow:
    return BadRow(row, (Fault("", "INVALID_FIELD", row.fault) if row.fault else fault,))


class _Stated(NamedTuple):
    """The values that must be equal in all rows of a tube, in the order of _SHARED."""

    outcome: values.Outcome
    pool_size: int
    specimen: values.Specimen
    method: values.Method
    item: str


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


class _Tube:
    """The rows of one tube code."""

    def __init__(self, rows: Sequence[Row], reading: Reading) -> None:
        self._rows = rows
        self._shared = _find_shared(rows) if len(rows) > 1 else {}
        counted = _count_size(rows)
        self._read = [_read_row(row, self._shared, counted, reading) for row in rows]

    def split(self) -> Iterator[ReadTube | BadRow]:
        """Yield the tube, or several with the same code if sampling sites or times differ or reports repeat."""
        mismatch = self._mismatch()
        run: list[_Good] = []
        for item in self._read:
            if isinstance(item, BadRow):
                yield item.without_size() if mismatch else item
            elif mismatch:
                yield BadRow(
                    item.row, (mismatch,), complete_cells(item.row, self._shared, item.stated.pool_size, [mismatch])
                )
            else:
                if run and (not run[0].shares_message(item) or _repeats(item, run)):
                    yield _build(run, self._shared)
                    run = []
                run.append(item)
        if run:
            yield _build(run, self._shared)

    def _mismatch(self) -> Fault | None:
        """Return why the rows contradict each other as one tube; None if they do not."""
        if len(self._rows) == 1:
            return None
        if len(self._rows) > MAX_ROWS:
            return Fault(
                "tube_code",
                "POOL_MISMATCH",
                tr("more than {max_rows} consecutive rows have this tube code", max_rows=MAX_ROWS),
            )
        good = [item for item in self._read if isinstance(item, _Good)]
        first = good[0] if good else None
        differs = any(item.stated != first.stated for item in good) if first else False
        for position, (column, word) in enumerate(_SHARED if differs else ()):
            other = next((item for item in good if first and item.stated[position] != first.stated[position]), None)
            if first and other:
                text = tr(
                    "rows {number} and {number2} of this tube differ in the {word}",
                    number=first.row.number,
                    number2=other.row.number,
                    word=word,
                )
                return Fault(column, "POOL_MISMATCH", tr("{value}; a tube has only one", value=text))
        bad = [item for item in self._read if isinstance(item, BadRow)]
        unread = next(((item, column) for item in bad if (column := _doubtful_column(item))), None)
        if unread and good:
            item, column = unread
            word = dict(_SHARED)[column]
            text = tr(
                "the {word} of row {number} of this tube cannot be read, so the tube has no known {word}",
                word=word,
                number=item.row.number,
            )
            return Fault(column, "POOL_MISMATCH", text)
        # Rows that cannot be sent are counted too, because their persons are of the tube.
        persons = len({row.cells.get("report_no") for row in self._rows if not row.fault})
        size = min(good[0].stated.pool_size, MAX_PERSONS) if good else 0
        if persons > max(size, 1):
            return Fault(
                "pool_size",
                "POOL_MISMATCH",
                tr("{persons} persons do not fit a tube for {size}", persons=persons, size=size),
            )
        return None


def _repeats(item: _Good, run: Sequence[_Good]) -> bool:
    """Check whether a row of the run has the same report number. The service finds a duplicate or a conflict then."""
    return any(item.person.report_number == other.person.report_number for other in run)


def _doubtful_column(item: BadRow) -> str:
    """Return the faulty column of a bad row that leaves the meaning of its tube unknown; empty if there is none."""
    return next((fault.column for fault in item.faults if fault.column in _DOUBTFUL), "")


def _find_shared(rows: Sequence[Row]) -> Mapping[str, Cell]:
    """Return the cells that describe the tube and that only some of its rows fill."""
    shared: dict[str, Cell] = {}
    keys = rows[0].cells.keys()
    if all(row.cells.keys() == keys for row in rows):
        return shared
    for column in _OF_TUBE:
        cells = [row.cells[column] for row in rows if column in row.cells]
        if cells and len(cells) < len(rows) and (column != "pool_size" or len({*map(read_size, cells)}) == 1):
            shared[column] = cells[0]
    return shared


def _count_size(rows: Sequence[Row]) -> int:
    """Return the size of a tube for the rows that state no size, or state only that the tube is a pool."""
    if len(rows) == 1:
        return 1
    sizes = [size for row in rows if (cell := row.cells.get("pool_size")) is not None and (size := read_size(cell))]
    pool = next((size for size in sizes if size > 1), None)
    return pool or min(len(rows), MAX_PERSONS)


def _read_row(row: Row, shared: Mapping[str, Cell], counted: int, reading: Reading) -> _Good | BadRow:
    if row.fault:
        return BadRow(row, (Fault("", "INVALID_FIELD", row.fault),))
    cells = {**shared, **row.cells} if shared else row.cells
    reader = Cells(row, cells)
    size = _read_size(reader, counted)
    outcome = reader.read("nat_result", lambda cell: values.read_outcome(cell, size))
    test = describe_test(
        cells.get("check_project"),
        cells.get("check_method"),
        cells.get("sample_type"),
        reading.items,
        row.sheet.test,
        cells.get(REMARK, ""),
    )
    if test.faults:
        reader.faults += test.faults
    stated = _Stated(outcome or OUTCOME_UNSPECIFIED, size, test.specimen, test.method, test.item)
    times = {name: reader.read_time(column, reading.zone) for column, name in _TIMES.items() if column in cells}
    region = reader.read("sample_region", read_region_cell) or reading.region
    if not region:
        reader.fault("sample_region", tr("the region is missing; fill the cell, or upload with --region"))
    reader.read("tube_code", values.read_code)
    person = TubePerson(document=_read_document(reader), report_number=reader.read("report_no", values.read_code) or "")
    site = (region, values.read_words(row.cells.get("sample_orgname", "")))
    good = _Good(row, stated, site, {name: time for name, time in times.items() if time}, person)
    if sum(map(len, row.original)) > _MAX_ROW_CHARACTERS:
        reader.fault("", tr("the row is far too long; look for a stray quotation mark"))
    if not ERROR_VALUES.isdisjoint(cells.values()):
        reader.reject_errors()
    if reader.faults:
        return BadRow(row, tuple(reader.faults), complete_cells(row, shared, size, reader.faults))
    return good


def _read_size(reader: Cells, counted: int) -> int:
    """Return the size of a row's pool, `counted` if the row states none."""
    cell = find_pool_size(reader.cells)
    if cell is None:
        if OF_REJECTED in reader.cells:
            reader.fault("pool_size", _NOT_COUNTED)
        return counted
    try:
        size = read_pool_size(cell)
    except BadCell as error:
        reader.fault("pool_size", error.description)
        return counted
    if size == POOLED and counted == 1:
        reader.fault("pool_size", tr("the row is of a pool, but not of how many persons; write the size, as 10"))
    return size or counted


def _read_document(reader: Cells) -> IdentityDocument:
    number = reader.read("card_no", values.read_document_number) or ""
    document = IdentityDocument(
        number=number,
        name=values.read_words(reader.row.cells.get("name", "")),
    )
    if number or "card_type" in reader.row.cells:
        kind = reader.read("card_type", lambda cell: values.read_document_type(cell, number), needed=True)
        document.type = kind or document.type
    if document.type == DOCUMENT_TYPE_PASSPORT:
        # Files give a nationality for every person, but the contract allows it for passports only.
        document.issuing_country = reader.read("issuing_country", values.read_country) or ""
    return document


def _build(run: Sequence[_Good], shared: Mapping[str, Cell]) -> ReadTube:
    first = run[0]
    region, site = first.site
    tube = Tube(
        tube_code=values.read_code(first.row.cells.get("tube_code", first.person.report_number)),
        pool_size=first.stated.pool_size,
        specimen=first.stated.specimen,
        method=first.stated.method,
        outcome=first.stated.outcome,
        item=first.stated.item,
        sample_region=region,
        sample_site=site,
        persons=[item.person for item in run],
        **first.times,
    )
    return ReadTube(tube, [item.row for item in run], shared)
