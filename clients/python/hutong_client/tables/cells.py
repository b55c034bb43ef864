"""Read the cells of a row and gather all their faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from hutong_texts import english

from hutong_client.tables.columns.header import TIME_OF_DAY
from hutong_client.tables.columns.vocabulary import ALIASES
from hutong_client.tables.faults import BadCell, Fault
from hutong_client.tables.rows import Cell, Row
from hutong_client.tables.times import join_time, parse_time
from hutong_client.tables.words import ERROR_VALUES

ERROR_VALUE = english(
    "the cell holds an error value of a spreadsheet program (as #REF!); correct its formula or type it"
)
_TIMES_OF_DAY = {column: column + TIME_OF_DAY for column in ALIASES}
Value = TypeVar("Value")


class Cells:
    """Reader of a row's cells that gathers all faults."""

    def __init__(self, row: Row, cells: Mapping[str, Cell]) -> None:
        self.row = row
        self.cells = cells
        self.faults: list[Fault] = []

    def read(self, column: str, read: Callable[[Cell], Value], *, needed: bool = False) -> Value | None:
        """Return a cell's value; None if it is faulty or empty. The service reports missing values."""
        cell = self.cells.get(column)
        if cell is None and not needed:
            return None
        try:
            return read(cell)  # type: ignore[arg-type] # the reader of a needed cell reports None itself
        except BadCell as error:
            self.faults.append(Fault(column, error.reason, error.description))
            return None

    def read_time(self, column: str, zone: tzinfo | None) -> Timestamp | None:
        """Return a time. Its time of day may be in a column of its own."""
        cell = self.cells.get(column)
        if cell is None:
            return None
        of_day = self.cells.get(_TIMES_OF_DAY[column])
        try:
            return parse_time(cell if of_day is None else join_time(cell, of_day), zone)
        except BadCell as error:
            self.faults.append(Fault(column, error.reason, error.description))
            return None

    def reject_errors(self) -> None:
        """Record the error values of the row as its faults, in place of the faults that the values have caused."""
        columns = [column for column, cell in self.cells.items() if isinstance(cell, str) and cell in ERROR_VALUES]
        self.faults = [fault for fault in self.faults if fault.column not in columns]
        for column in columns:
            self.fault(column, ERROR_VALUE)

    def fault(self, column: str, description: str) -> None:
        """Record a fault that does not come from reading one cell."""
        self.faults.append(Fault(column, "INVALID_FIELD", description))
