"""Rows in the form that a database engine takes in bulk. Validation makes the rows, so that the commit only joins them.

A result's row has two parts. Validation knows `VALIDATED_COLUMNS` and formats them here. Only the commit knows
`COMMIT_COLUMNS` (such as the revision and the upload time) and adds them. PostgreSQL takes lines of COPY's text format,
SQLite takes tuples. All persons of a tube share one tuple with the tube's columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

from services.results.records.row_columns import (
    VALIDATED_COLUMNS,
    NewColumns,
    SubjectColumns,
    TubeColumns,
    TupleColumns,
    TupleRow,
)


class RowForm(Protocol):
    """Makes rows in the form of one engine. A tube's columns are formatted once for all persons of the tube."""

    def form_tube(self, tube: TubeColumns) -> Any:
        """Format the columns of a tube."""
        ...

    def form_key(
        self, lab: str, report_number: str, subject_key: bytes, reference_time: int, outcome: int, content_hash: bytes
    ) -> Any:
        """Format a row of `report_keys` for a first revision."""
        ...

    def form_result(self, subject: SubjectColumns, tube_columns: Any) -> Any:
        """Format the validated part of a row of `results`: the subject's columns, then the tube's."""
        ...

    def form_keys(self, new: NewColumns) -> Sequence[Any]:
        """Format the rows of `report_keys` of many first revisions, as `form_key` does."""
        ...

    def form_results(self, new: NewColumns) -> Any:
        """Format the validated parts of many rows of `results`, as `form_result` does, and join them."""
        ...

    def join_keys(self, key_rows: Sequence[Any]) -> Any:
        """Join rows of `report_keys` for one bulk statement."""
        ...

    def split_keys(self, joined: Any) -> Sequence[Any]:
        """Return the rows that `join_keys` joined."""
        ...

    def join_results(self, result_rows: Sequence[Any]) -> Any:
        """Join the validated parts of rows of `results` for one bulk statement."""
        ...

    def split_results(self, joined: Any) -> Sequence[Any]:
        """Return the rows that `join_results` joined."""
        ...

    def concatenate_keys(self, joined: Sequence[Any]) -> Any:
        """Concatenate what `join_keys` returned for several parts.

        The outcome is that of one call with the rows of all parts.
        """
        ...

    def concatenate_results(self, joined: Sequence[Any]) -> Any:
        """Concatenate what `join_results` returned for several parts.

        The outcome is that of one call with the rows of all parts.
        """
        ...


_KEY_LINE = "%s\t%s\t\\\\x%s\t%d\t1\t%d\t\\\\x%s\n"
"""A line of `report_keys`: laboratory, report number, subject key, reference time, outcome and content hash."""
_RESULT_START = "\\\\x%s\t%s\t%s\t%d\t\\\\x%s\t%s\t%s"
"""The subject's columns in a line of `results`, in the order of `SubjectColumns`."""


class CopyRows:
    """Lines of COPY's text format. A key is a whole line.

    A result is a line without its last columns, which the commit adds.
    """

    def form_tube(self, tube: TubeColumns) -> str:
        """Return a tube's columns, each after a tab."""
        return (
            f"\t{tube.reference_time}\t{escape(tube.tube_code)}\t{tube.pool_size}\t{tube.specimen}\t{tube.method}"
            f"\t{tube.outcome}\t{escape(tube.sample_region)}\t{escape(tube.sample_site)}\t{tube.sample_time}"
            f"\t{_or_null(tube.receive_time)}\t{_or_null(tube.test_time)}\t{_or_null(tube.report_time)}\t{tube.item}"
        )

    def form_key(
        self, lab: str, report_number: str, subject_key: bytes, reference_time: int, outcome: int, content_hash: bytes
    ) -> str:
        """Return a whole line of `report_keys`."""
        key = (escape(lab), escape(report_number), subject_key.hex(), reference_time, outcome, content_hash.hex())
        return _KEY_LINE % key

    def form_result(self, subject: SubjectColumns, tube_columns: str) -> str:
        """Return the beginning of a line of `results`: the subject's columns, then the tube's."""
        subject_key, lab, report_number, key_version, name_hash, masked_name, masked_number = subject
        number, masks = escape(report_number), (escape(masked_name), escape(masked_number))
        return (
            _RESULT_START % (subject_key.hex(), escape(lab), number, key_version, name_hash.hex(), *masks)
            + tube_columns
        )

    def form_keys(self, new: NewColumns) -> list[str]:
        """Return whole lines of `report_keys`."""
        lab = escape(new.lab)
        keys = zip(
            *(_escape_each(new.report_numbers), new.subject_keys, new.reference_times, new.outcomes),
            new.content_hashes,
            strict=True,
        )
        return [
            _KEY_LINE % (lab, number, subject_key.hex(), time, outcome, content_hash.hex())
            for number, subject_key, time, outcome, content_hash in keys
        ]

    def form_results(self, new: NewColumns) -> bytes:
        """Return the beginnings of lines of `results`, each with a line end."""
        lab, version = escape(new.lab), new.key_version
        rows = zip(
            *(new.subject_keys, _escape_each(new.report_numbers), new.name_hashes),
            *(_escape_each(new.masked_names), _escape_each(new.masked_numbers), new.tubes),
            strict=True,
        )
        lines: list[bytes] = []
        tube, end = None, b""
        for subject_key, number, name_hash, name, masked_number, of_tube in rows:
            if of_tube is not tube:
                # The persons of a tube come one after another, so its columns are encoded once.
                tube, end = of_tube, f"{of_tube}\n".encode()
            start = _RESULT_START % (subject_key.hex(), lab, number, version, name_hash.hex(), name, masked_number)
            lines += (start.encode(), end)
        return b"".join(lines)

    def join_keys(self, key_rows: Sequence[str]) -> bytes:
        """Return the lines as COPY takes them."""
        return "".join(key_rows).encode()

    def split_keys(self, joined: bytes) -> list[str]:
        """Return the lines, each with its end."""
        return [f"{line}\n" for line in joined.decode().split("\n")[:-1]]

    def join_results(self, result_rows: Sequence[str]) -> bytes:
        """Return the beginnings of lines, each with a line end.

        No field contains a line end, because `escape` replaces it.
        """
        return "\n".join([*result_rows, ""]).encode()

    def split_results(self, joined: bytes) -> list[str]:
        """Return the beginnings of lines."""
        return joined.decode().split("\n")[:-1]

    def concatenate_keys(self, joined: Sequence[bytes]) -> bytes:
        """Return all lines."""
        return b"".join(joined)

    def concatenate_results(self, joined: Sequence[bytes]) -> bytes:
        """Return all beginnings of lines."""
        return b"".join(joined)


class TupleRows:
    """Tuples of statement parameters: one tuple for the subject, one for the tube.

    Columns that are fields of `NewResult` are left out. All persons of a tube share the tube's tuple, so the validating
    process sends that tuple only once.
    """

    def form_tube(self, tube: TubeColumns) -> tuple[object, ...]:
        """Return a tube's columns."""
        return (
            tube.reference_time,
            tube.tube_code,
            tube.pool_size,
            tube.specimen,
            tube.method,
            tube.outcome,
            tube.sample_region,
            tube.sample_site,
            tube.sample_time,
            tube.receive_time,
            tube.test_time,
            tube.report_time,
            tube.item,
        )

    def form_key(
        self, lab: str, report_number: str, subject_key: bytes, reference_time: int, outcome: int, content_hash: bytes
    ) -> None:
        """Return None. Every column of the key is in `NewResult` or in its result row."""

    def form_result(self, subject: SubjectColumns, tube_columns: tuple[object, ...]) -> TupleRow:
        """Return the subject's columns that are not fields of `NewResult`, and the tube's columns."""
        _subject_key, lab, _report_number, *rest = subject
        return (lab, *rest), tube_columns

    def form_keys(self, new: NewColumns) -> list[None]:
        """Return None for each result, as `form_key` does."""
        return [None] * len(new.report_numbers)

    def form_results(self, new: NewColumns) -> TupleColumns:
        """Return the subjects' columns that are not fields of `NewResult`, and the tubes' columns."""
        count = len(new.report_numbers)
        labs, key_versions = [new.lab] * count, [new.key_version] * count
        return TupleColumns(labs, key_versions, new.name_hashes, new.masked_names, new.masked_numbers, new.tubes)

    def join_keys(self, key_rows: Sequence[None]) -> Sequence[None]:
        """Return the rows as they are.

        The columns of the results have every value of the keys except the laboratory.
        """
        return key_rows

    def split_keys(self, joined: Sequence[None]) -> Sequence[None]:
        """Return the rows as they are."""
        return joined

    def join_results(self, result_rows: Sequence[TupleRow]) -> TupleColumns:
        """Return the rows in columns, which cost less to send from process to process than a tuple for each row."""
        subjects = zip(*(subject for subject, _ in result_rows), strict=True) if result_rows else [()] * 5
        return TupleColumns._make([*map(list, subjects), [of_tube for _, of_tube in result_rows]])

    def split_results(self, joined: TupleColumns) -> Sequence[TupleRow]:
        """Return the rows."""
        *subjects, tubes = joined
        return list(zip(zip(*subjects, strict=True), tubes, strict=True))

    def concatenate_keys(self, joined: Sequence[Sequence[None]]) -> Sequence[None]:
        """Return all rows."""
        return list(chain.from_iterable(joined))

    def concatenate_results(self, joined: Sequence[TupleColumns]) -> TupleColumns:
        """Return all rows."""
        return TupleColumns._make(list(chain.from_iterable(column)) for column in zip(*joined, strict=True))


def escape(text: str) -> str:
    """Escape a text for COPY's text format."""
    if "\\" in text or not text.isprintable():
        text = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return text


def _escape_each(texts: Sequence[str]) -> Sequence[str]:
    """Escape texts for COPY's text format. Nearly always none of them needs it, which one look at all of them shows."""
    together = "".join(texts)
    if "\\" in together or not together.isprintable():
        return list(map(escape, texts))
    return texts


def _or_null(value: int | None) -> str:
    return "\\N" if value is None else str(value)


def split_columns(result_row: Any) -> tuple[object, ...]:
    """Return the columns of a result's row from `name_hash` on, each in the form that its engine takes.

    Two rows of one engine have equal columns exactly if their values are equal.
    """
    if isinstance(result_row, str):
        return tuple(result_row.split("\t")[VALIDATED_COLUMNS.index("name_hash") :])
    (_lab, _key_version, *of_subject), of_tube = result_row
    return (*of_subject, *of_tube)


def row_form(dialect: str) -> RowForm:
    """Return the form of rows for a dialect, "postgresql" or "sqlite"."""
    return TupleRows() if dialect == "sqlite" else CopyRows()
