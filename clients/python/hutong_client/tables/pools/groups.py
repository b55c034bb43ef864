"""Group rows into tubes, also where the tube code stands once for its group.

A row without a tube code belongs to the tube above it only if the layout leaves no doubt. The code must stand once,
with the size of a pool, and no more rows may follow than the pool has members. A row that may be a member of a pool is
never taken for a tube of its own, because the result of a positive pool would then be stored as that person's own.

A file may also give each person a code, and the size of the pool once. Such rows are rejected, because nothing says
which of them are in one tube.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from hutong_texts import english, tr

from hutong_client.tables.faults import Fault
from hutong_client.tables.placeholders import drop_placeholders
from hutong_client.tables.pools.footers import describe_no_person, is_no_person
from hutong_client.tables.pools.sizes import POOLED, find_pool_size, read_size
from hutong_client.tables.rows import Cell, Row, Sheet
from hutong_client.tables.words import ERROR_VALUES

MAX_PERSONS = 20
"""The contract's limit for the size of a pool."""
MAX_ROWS = 5_000
"""Rows of one tube code that are kept in memory. A file with more of them repeats one code in every row."""
_DITTO = frozenset({"同上", "同上行", "同左", "〃", "″", '"', "''", "\u201d", "↑", "^", "ditto"})
_NO_CODE = frozenset({"无", "null", "none", "nil", "nan", "n/a"})
"""Words that mean that there is no tube code, in lower case. A text without letters and digits, such as a dash, means
the same."""
_WRITE = english("write the tube code in every row of the tube")
_SINGLE = english("write 1 as its pool size (混检人数) if it is a tube of its own")


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one tube, or rows that cannot be assigned to a tube for the reason of `fault`."""

    rows: Sequence[Row]
    fault: Fault | None = None


def group_rows(rows: Iterable[Row]) -> Iterator[Group]:
    """Yield the groups in the order of the file."""
    return _doubt_codes_of_persons(_Grouper().group(drop_placeholders(rows)))


def _doubt_codes_of_persons(groups: Iterable[Group]) -> Iterator[Group]:
    """Reject rows after a pool of one row if each has its own code and no size. They may be members of the pool.

    Rows that cannot be read, and footers, may stand between them. They are not counted as members.
    """
    chain: list[Group] = []
    size = 0
    for group in groups:
        if chain:
            is_full = _count_readable(chain) >= size or len(chain) > MAX_ROWS
            if not is_full and _may_be_further_member(group, chain[0].rows[0].sheet):
                chain.append(group)
                continue
            yield from _end_chain(chain)
            chain = []
        size = _size_of_lone_head(group)
        if size > 1:
            chain = [group]
        else:
            yield group
    if chain:
        yield from _end_chain(chain)


def _size_of_lone_head(group: Group) -> int:
    """If only one row has the group's code, return the pool size that the row states; otherwise return 0."""
    head = _only_readable(group)
    if head is None or group.fault or "tube_code" not in head.cells:
        return 0
    stated = _stated_size(head)
    return MAX_PERSONS if stated == POOLED else stated or 0


def _may_be_further_member(group: Group, sheet: Sheet) -> bool:
    row = _only_readable(group)
    if row is None:
        return not group.fault and all(row.fault for row in group.rows)
    code = row.cells.get("tube_code")
    if code is None or code in ERROR_VALUES or group.fault or row.sheet is not sheet:
        return False
    return _stated_size(row) is None


def _only_readable(group: Group) -> Row | None:
    """Return the only row of a group that can be read; None if there are several or none."""
    if len(group.rows) == 1:
        return None if group.rows[0].fault else group.rows[0]
    if not group.rows[0].fault and not group.rows[1].fault:
        return None
    readable = [row for row in group.rows if not row.fault]
    return readable[0] if len(readable) == 1 else None


def _count_readable(chain: list[Group]) -> int:
    return sum(_only_readable(group) is not None for group in chain)


def _end_chain(chain: list[Group]) -> Iterator[Group]:
    if _count_readable(chain) == 1:
        yield from chain
        return
    rows = [row for group in chain for row in group.rows]
    why = tr(
        "row {number} states the size of a pool, and the rows below it have other tube codes and no size",
        number=rows[0].number,
    )
    yield Group(
        rows,
        _doubt(
            tr("it is unclear which persons are in one tube: {why}; {write}, and the size too", why=why, write=_WRITE)
        ),
    )


class _Grouper:
    """The rows since the last complete group.

    `_is_plain` says that every row of `_group` has the code itself and no fault. `_early` holds rows without a code
    before the first code of the file. A pool's code may stand below the pool's first members. Therefore `_early` keeps
    as many rows as the largest pool has members.
    """

    def __init__(self) -> None:
        self._group: list[Row] = []
        self._code: Cell = ""
        self._early: deque[Row] = deque()
        self._has_codes = False
        self._is_plain = False
        self._size: Cell = ""
        self._sheet: Sheet | None = None

    def group(self, rows: Iterable[Row]) -> Iterator[Group]:
        for row in rows:
            if row.fault:
                yield from self._take_faulty(row)
                continue
            cells = row.cells
            if cells.get("pool_size", "") != self._size or row.sheet is not self._sheet:
                row = self._repeat_size(row)  # noqa: PLW2901 - the row as it is meant
                cells = row.cells
            code = cells.get("tube_code", "")
            # The code of a group is never blank, so a row with the same code needs no further test.
            if code and code == self._code and len(self._group) <= MAX_ROWS:
                self._group.append(row)
                continue
            if _is_blank(code):
                code = ""
            if is_no_person(row):
                yield from self._close()
                yield from self._take_faulty(Row(row.number, {}, row.original, describe_no_person(row), row.sheet))
            elif code and not _is_ditto(code):
                yield from self._close()
                yield from self._end_early(row)
                self._group, self._code, self._has_codes, self._is_plain = [row], code, True, True
            else:
                yield from self._take_without_code(row, ditto=bool(code))
        yield from self._close()
        yield from self._flush_early()

    def _repeat_size(self, row: Row) -> Row:
        """Return the row.

        If its cell says that the size is the same as above ("同上"), add the size of the row above.
        """
        size = row.cells.get("pool_size")
        if row.sheet is not self._sheet:
            self._size, self._sheet = "", row.sheet
        if size is None:
            if not _has_no_code(row):
                self._size = ""
        elif not _is_ditto(size):
            self._size = size
        elif self._size:
            return replace(row, cells={**row.cells, "pool_size": self._size}, filled={"pool_size": self._size})
        return row

    def _take_faulty(self, row: Row) -> Iterator[Group]:
        """Take a row that cannot be read, or a footer. Such a row does not end the doubt about the rows above it."""
        if self._group:
            self._group.append(row)
            self._is_plain = False
            if len(self._group) > MAX_ROWS:
                yield from self._close()
        elif self._early:
            self._early.append(row)
            if len(self._early) > MAX_ROWS:
                yield Group([self._early.popleft()])
        else:
            yield Group([row])

    def _take_without_code(self, row: Row, *, ditto: bool) -> Iterator[Group]:
        if _size_of(row) == 1 and not ditto:
            yield from self._close()
            yield from self._flush_early()
            yield Group([row])
        elif not ditto and not self._has_codes and _stated_size(row) not in {None, 1}:
            # The rows below may be further members of this pool.
            yield from self._close()
            yield from self._flush_early()
            self._group, self._is_plain = [row], False
        elif self._group and len(self._group) <= MAX_ROWS and row.sheet is self._group[0].sheet:
            self._group.append(row)
            self._is_plain = False
        elif ditto or self._has_codes:
            yield from self._close()
            yield from self._flush_early()
            yield _orphan(row)
        else:
            yield from self._close()
            self._early.append(row)
            if len(self._early) >= MAX_PERSONS:
                yield Group([self._early.popleft()])

    def _flush_early(self) -> Iterator[Group]:
        while self._early:
            yield Group([self._early.popleft()])

    def _end_early(self, head: Row) -> Iterator[Group]:
        """Yield the rows before the first code. They are doubtful if that code's tube may hold several persons."""
        if self._early and _size_of(head) != 1 and head.sheet is self._early[-1].sheet:
            early = list(self._early)
            self._early.clear()
            text = tr(
                "the tube code is missing, and the tube of row {number} below may include this row", number=head.number
            )
            yield Group(early, _doubt(tr("{value}; {write}, or {single}", value=text, write=_WRITE, single=_SINGLE)))
        yield from self._flush_early()

    def _close(self) -> Iterator[Group]:
        rows, self._group, self._code = self._group, [], ""
        if not rows:
            return
        if self._is_plain:
            yield Group(rows)
            return
        bare = [row for row in rows if not row.fault and _has_no_code(row)]
        if not bare:
            yield Group(rows)
            return
        coded = [row for row in rows if not row.fault and not _has_no_code(row)]
        if not coded:
            why = tr("row {number} states the size of a pool, and no row has a tube code", number=rows[0].number)
            text = tr(
                "it is unclear which persons are in the tube: {why}; {write}, or {single}",
                why=why,
                write=_WRITE,
                single=_SINGLE,
            )
            yield Group(rows, _doubt(text) if len(rows) > 1 else None)
            return
        head, size = coded[0], _size_of(coded[0])
        first_bare = rows.index(bare[0])
        if size is not None and size <= len(coded) and len(coded) == first_bare:
            # The tube is complete without these rows.
            yield Group(rows[:first_bare])
            for row in rows[first_bare:]:
                yield Group([row]) if row.fault else _orphan(row)
        elif len(coded) == 1 and size and len(rows) <= size and all(_size_of(row) in {None, size} for row in bare):
            yield Group([row if row.fault else _complete(row, head) for row in rows])
        else:
            yield Group(rows, _doubt(_describe_doubt(head, len(coded), len(rows), size)))


def _complete(row: Row, head: Row) -> Row:
    """Return a member's row with the code and the size of its tube."""
    own = {column: cell for column, cell in row.cells.items() if column != "tube_code" and not _is_ditto(cell)}
    if _stated_size(row) == POOLED:
        own.pop("pool_size", None)
    size = find_pool_size(head.cells)
    assert size is not None  # only a head with a size has members
    shared = {"tube_code": head.cells["tube_code"], "pool_size": size}
    return replace(row, cells=shared | own, filled=shared)


def _describe_doubt(head: Row, coded: int, rows: int, size: int | None) -> str:
    if coded > 1:
        why = tr(
            "{coded} rows have its code and {value} among or below them have none", coded=coded, value=rows - coded
        )
    elif not size:
        why = tr("its size is not known and {value} rows without a code follow", value=rows - 1)
    else:
        why = tr("it is made for {size} and {value} rows without a code follow", size=size, value=rows - 1)
    return tr(
        "it is unclear which persons are in the tube of row {number}: {why}; {write}",
        number=head.number,
        why=why,
        write=_WRITE,
    )


def _orphan(row: Row) -> Group:
    return Group(
        [row],
        _doubt(
            tr("the tube code is missing, and other rows have one; {write}, or {single}", write=_WRITE, single=_SINGLE)
        ),
    )


def _doubt(description: str) -> Fault:
    return Fault("tube_code", "POOL_MISMATCH", description)


def _has_no_code(row: Row) -> bool:
    code = row.cells.get("tube_code", "")
    return _is_blank(code) or _is_ditto(code)


def _is_blank(code: Cell) -> bool:
    """Check whether a cell names no tube code. A mark that repeats the code above, such as "同上", names one."""
    if not isinstance(code, str) or _is_ditto(code):
        return not code
    if code.isalnum():
        return code.casefold() in _NO_CODE
    return code.casefold() in _NO_CODE or not any(map(str.isalnum, code))


def _is_ditto(cell: Cell) -> bool:
    return isinstance(cell, str) and cell in _DITTO


def _stated_size(row: Row) -> int | None:
    """Return the size that a row states: POOLED for a pool of unknown size; None if the row states no readable size."""
    cell = find_pool_size(row.cells)
    return None if cell is None or _is_ditto(cell) else read_size(cell)


def _size_of(row: Row) -> int | None:
    """Return the number of persons that a row states; None if it states none."""
    return _stated_size(row) or None
