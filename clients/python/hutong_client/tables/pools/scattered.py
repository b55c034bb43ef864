"""Find the tube codes whose rows stand apart in a file.

The size of a tube whose rows do not state it is the number of its rows. That number is wrong if other rows of the tube
stand elsewhere, and a pool would become single tubes. A file is searched only if such a size is needed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from functools import cached_property

from hutong_client.tables.pools.groups import group_rows
from hutong_client.tables.rows import Row

_TEMPORARY = ""
"""SQLite keeps a database with an empty name in a temporary file and removes the file, so memory does not grow."""


class ScatteredCodes:
    """The tube codes whose rows are separated by rows with another code.

    `open_again` opens the file's rows a second time, because the first reading is still under way.
    """

    def __init__(self, open_again: Callable[[], AbstractContextManager[Iterable[Row]]]) -> None:
        self._open_again = open_again

    def __contains__(self, code: object) -> bool:
        return str(code) in self._codes

    @cached_property
    def _codes(self) -> frozenset[str]:
        with self._open_again() as rows, closing(sqlite3.connect(_TEMPORARY)) as database:
            database.execute("CREATE TABLE persons (code TEXT, tube INTEGER, report TEXT)")
            database.executemany("INSERT INTO persons VALUES (?, ?, ?)", _list_persons(rows))
            found = database.execute(
                "SELECT code FROM persons GROUP BY code HAVING MIN(tube) < MAX(tube) AND COUNT(DISTINCT report) > 1"
            )
            return frozenset(code for (code,) in found)


def _list_persons(rows: Iterable[Row]) -> Iterator[tuple[str, int, str]]:
    """Yield the tube code, the position of the tube and the report number of each row with a code.

    Rows with the same report number are of one person.
    """
    for tube, group in enumerate(group_rows(rows)):
        for row in group.rows:
            if code := row.cells.get("tube_code"):
                yield str(code), tube, str(row.cells.get("report_no", ""))
