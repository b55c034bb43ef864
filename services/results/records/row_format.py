"""Rows as the engines take them in bulk, put together where a batch is judged so that the commit only joins them.

A result's row has two parts: what the judge knows (`JUDGED_COLUMNS`), made here, and what only the commit knows
(`FILED_COLUMNS`: the revision, the instant), added there. PostgreSQL's are lines of COPY's text, SQLite's tuples, of
which the persons of a tube share their tube's.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from services.domain.instant import Instant


class TubeColumns(Protocol):
    """What the persons of a tube have in common: uploaded tubes, stored results and replicated tubes have it."""

    @property
    def reference_time(self) -> Instant: ...  # noqa: D102
    @property
    def tube_code(self) -> str: ...  # noqa: D102
    @property
    def pool_size(self) -> int: ...  # noqa: D102
    @property
    def specimen(self) -> int: ...  # noqa: D102
    @property
    def method(self) -> int: ...  # noqa: D102
    @property
    def outcome(self) -> int: ...  # noqa: D102
    @property
    def sample_region(self) -> str: ...  # noqa: D102
    @property
    def sample_site(self) -> str: ...  # noqa: D102
    @property
    def sample_time(self) -> Instant | None: ...  # noqa: D102
    @property
    def receive_time(self) -> Instant | None: ...  # noqa: D102
    @property
    def test_time(self) -> Instant | None: ...  # noqa: D102
    @property
    def report_time(self) -> Instant | None: ...  # noqa: D102


KEY_COLUMNS = ("lab", "report_number", "subject_key", "reference_time", "revision", "outcome", "content_hash")
TUBE_COLUMNS = (
    "reference_time",
    "tube_code",
    "pool_size",
    "specimen",
    "method",
    "outcome",
    "sample_region",
    "sample_site",
    "sample_time",
    "receive_time",
    "test_time",
    "report_time",
)
JUDGED_COLUMNS = (
    "subject_key",
    "lab",
    "report_number",
    "key_version",
    "name_hash",
    "masked_name",
    "masked_number",
    *TUBE_COLUMNS,
)
PersonColumns: TypeAlias = tuple[bytes, str, str, int, bytes, str, str]
"""Of a result the columns of its person: those of JUDGED_COLUMNS before the tube's."""
TupleRow: TypeAlias = tuple[tuple[object, ...], tuple[object, ...]]
"""Of a person the columns from the laboratory on but for the report number; of the tube all."""
FILED_COLUMNS = ("revision", "state", "upload_time", "source_node", "national_receive_time")


class RowForm(Protocol):
    """How an engine takes rows. What a tube's persons share is formed once for all of them."""

    def form_tube(self, tube: TubeColumns) -> Any:
        """A tube's columns."""
        ...

    def form_key(
        self, lab: str, report_number: str, subject_key: bytes, reference_time: int, outcome: int, content_hash: bytes
    ) -> Any:
        """A row of report_keys, first revision."""
        ...

    def form_result(self, person: PersonColumns, of_tube: Any) -> Any:
        """The judged part of a row of results: the person's columns, then the tube's."""
        ...


class CopyRows:
    """Lines of COPY's text format. Keys are whole lines; results want their filed part and the line's end."""

    def form_tube(self, tube: TubeColumns) -> str:
        """A tube's columns, each after a tab."""
        return (
            f"\t{tube.reference_time}\t{escape(tube.tube_code)}\t{tube.pool_size}\t{tube.specimen}\t{tube.method}"
            f"\t{tube.outcome}\t{escape(tube.sample_region)}\t{escape(tube.sample_site)}\t{tube.sample_time}"
            f"\t{_or_null(tube.receive_time)}\t{_or_null(tube.test_time)}\t{_or_null(tube.report_time)}"
        )

    def form_key(
        self, lab: str, report_number: str, subject_key: bytes, reference_time: int, outcome: int, content_hash: bytes
    ) -> str:
        """A whole line of report_keys."""
        return (
            f"{escape(lab)}\t{escape(report_number)}\t\\\\x{subject_key.hex()}\t{reference_time}\t1\t{outcome}"
            f"\t\\\\x{content_hash.hex()}\n"
        )

    def form_result(self, person: PersonColumns, of_tube: str) -> str:
        """The beginning of a line of results."""
        subject_key, lab, report_number, key_version, name_hash, masked_name, masked_number = person
        return (
            f"\\\\x{subject_key.hex()}\t{escape(lab)}\t{escape(report_number)}\t{key_version}\t\\\\x{name_hash.hex()}"
            f"\t{escape(masked_name)}\t{escape(masked_number)}{of_tube}"
        )


class TupleRows:
    """Parameters; a result's are its person's and its tube's, apart, without what the result itself has.

    So the tube's are made once, and whatever crosses from the process that judged it crosses once.
    """

    def form_tube(self, tube: TubeColumns) -> tuple[object, ...]:
        """A tube's columns."""
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
        )

    def form_key(
        self, lab: str, report_number: str, subject_key: bytes, reference_time: int, outcome: int, content_hash: bytes
    ) -> None:
        """Nothing: the result itself has all of it, and its row the laboratory."""

    def form_result(self, person: PersonColumns, of_tube: tuple[object, ...]) -> TupleRow:
        """What a result does not have itself: of its person, and its tube's columns."""
        _subject_key, lab, _report_number, *rest = person
        return (lab, *rest), of_tube


def escape(text: str) -> str:
    """A text as COPY's text format writes it."""
    if "\\" in text or not text.isprintable():
        text = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return text


def _or_null(value: int | None) -> str:
    return "\\N" if value is None else str(value)


def row_form(dialect: str) -> RowForm:
    """The rows that a dialect's bulk statements take: of "postgresql" or "sqlite"."""
    return TupleRows() if dialect == "sqlite" else CopyRows()
