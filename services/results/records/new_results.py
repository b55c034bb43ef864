"""All new results of a batch in one object: in columns, with their rows joined for one bulk statement.

The process that validates a batch sends its results in this form to the process that commits. Columns and joined rows
are sent at a small part of the cost of single rows. If all reports are new, they are stored as they arrived, and no
single row is ever made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from services.domain.instant import Instant
from services.results.records.model import KeyedForm, NewResult
from services.results.records.row_columns import NewColumns
from services.results.records.row_format import row_form

if TYPE_CHECKING:
    from services.results.records.model import Outcome


class ResultColumns(NamedTuple):
    """The fields of new results without their rows, in columns. `others` is None if no result has other keys."""

    tube_indexes: Sequence[int] = ()
    person_indexes: Sequence[int] = ()
    report_numbers: Sequence[str] = ()
    subject_keys: Sequence[bytes] = ()
    reference_times: Sequence[Instant] = ()
    outcomes: Sequence[Outcome] = ()
    content_hashes: Sequence[bytes] = ()
    items: Sequence[str] = ()
    others: Sequence[KeyedForm | None] | None = None

    def find_others(self) -> list[tuple[bytes, bytes]]:
        """Return the keys of each subject that has two keys."""
        if self.others is None:
            return []
        pairs = zip(self.subject_keys, self.others, strict=True)
        return [(key, other.subject_key) for key, other in pairs if other is not None]


@dataclass(slots=True, eq=False)
class NewResults(Sequence[NewResult]):
    """New results in columns. Used as a sequence, they are made into rows when the first row is read.

    Attributes:
        columns: the fields, in the order of the upload.
        dialect: the database engine, for whose bulk statements the rows are joined.
        keys: the joined rows of `report_keys`, in the order of the report numbers.
        rows: the joined rows of `results`, in the order of the upload.
        are_distinct: whether no report number occurs twice.
    """

    columns: ResultColumns
    dialect: str
    keys: Any
    rows: Any
    are_distinct: bool
    _made: list[NewResult] | None = field(default=None, repr=False)

    @classmethod
    def form(cls, dialect: str, columns: ResultColumns, new: NewColumns) -> NewResults:
        """Return results in columns. Their rows are made of `new`."""
        form, numbers = row_form(dialect), columns.report_numbers
        key_rows = form.form_keys(new)
        keys = form.join_keys([key_rows[at] for at in _by_number(numbers)])
        return cls(columns, dialect, keys, form.form_results(new), len(set(numbers)) == len(numbers))

    @classmethod
    def merge(cls, parts: Sequence[NewResults]) -> NewResults:
        """Return the results of several batches in one object.

        Each tube index still counts within its own batch. `are_distinct` is true if no report number occurs twice in
        the batches together.
        """
        if len(parts) == 1:
            return parts[0]
        first, form = parts[0], row_form(parts[0].dialect)
        fields = zip(*(part.columns[:-1] for part in parts), strict=True)
        others = None
        if any(part.columns.others for part in parts):
            others = [other for part in parts for other in part.columns.others or [None] * len(part)]
        columns = ResultColumns._make((*(list(chain.from_iterable(field)) for field in fields), others))
        numbers = columns.report_numbers
        keys = form.concatenate_keys([part.keys for part in parts])
        if not _ascend(parts):
            each = [key for part in parts for key in form.split_keys(part.keys)]
            sorted_numbers = [number for part in parts for number in sorted(part.columns.report_numbers)]
            keys = form.join_keys([each[at] for at in _by_number(sorted_numbers)])
        rows = form.concatenate_results([part.rows for part in parts])
        return cls(columns, first.dialect, keys, rows, len(set(numbers)) == len(numbers))

    def __len__(self) -> int:
        return len(self.columns.report_numbers)

    @overload
    def __getitem__(self, index: int) -> NewResult: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[NewResult]: ...

    def __getitem__(self, index: int | slice) -> NewResult | Sequence[NewResult]:
        if self._made is None:
            self._made = self._make_rows()
        return self._made[index]

    def _make_rows(self) -> list[NewResult]:
        *fields, items, others = self.columns
        form = row_form(self.dialect)
        key_rows: list[Any] = [None] * len(self)
        places = _by_number(self.columns.report_numbers)
        for at, key_row in zip(places, form.split_keys(self.keys), strict=True):
            key_rows[at] = key_row
        result_rows = form.split_results(self.rows)
        columns = (*fields, key_rows, result_rows, items, others or [None] * len(self))
        return [NewResult._make(row) for row in zip(*columns, strict=True)]


def columns_of(results: Sequence[NewResult]) -> ResultColumns:
    """Return the columns of results."""
    if isinstance(results, NewResults):
        return results.columns
    if not results:
        return ResultColumns()
    *fields, _, _, items, others = zip(*results, strict=True)
    return ResultColumns._make((*fields, items, others if any(others) else None))


def _ascend(parts: Sequence[NewResults]) -> bool:
    """Return whether all report numbers of each part come after those of the parts before it."""
    ranges = [(min(numbers), max(numbers)) for numbers in (part.columns.report_numbers for part in parts)]
    return all(newest < oldest for (_, newest), (oldest, _) in pairwise(ranges))


def _by_number(numbers: Sequence[str]) -> list[int]:
    """Return the indexes of report numbers, in ascending order of the numbers."""
    return sorted(range(len(numbers)), key=numbers.__getitem__)
