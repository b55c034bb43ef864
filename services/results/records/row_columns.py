"""The columns of results, and types for them: of one row, and of many rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from services.domain.instant import Instant


class TubeColumns(Protocol):
    """The fields that all persons of a tube share.

    Uploaded tubes, replicated tubes and stored results have these fields.
    """

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
    @property
    def item(self) -> str: ...  # noqa: D102


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
    "item",
)
VALIDATED_COLUMNS = (
    "subject_key",
    "lab",
    "report_number",
    "key_version",
    "name_hash",
    "masked_name",
    "masked_number",
    *TUBE_COLUMNS,
)
SubjectColumns: TypeAlias = tuple[bytes, str, str, int, bytes, str, str]
"""The columns of a result's subject and report, which come before the tube's columns in VALIDATED_COLUMNS."""


class NewColumns(NamedTuple):
    """The columns of many new results of one laboratory under one key version, from which their rows are made.

    `tubes` has for each result what `RowForm.form_tube` returned for its tube.
    """

    lab: str
    key_version: int
    report_numbers: Sequence[str]
    subject_keys: Sequence[bytes]
    reference_times: Sequence[Instant]
    outcomes: Sequence[int]
    content_hashes: Sequence[bytes]
    name_hashes: Sequence[bytes]
    masked_names: Sequence[str]
    masked_numbers: Sequence[str]
    tubes: Sequence[Any]


TupleRow: TypeAlias = tuple[tuple[object, ...], tuple[object, ...]]
"""Two tuples: the subject's columns without subject key and report number, and the tube's columns."""


class TupleColumns(NamedTuple):
    """Many rows as columns: the subjects' columns, and for each row the tuple of its tube."""

    labs: Sequence[str]
    key_versions: Sequence[int]
    name_hashes: Sequence[bytes]
    masked_names: Sequence[str]
    masked_numbers: Sequence[str]
    tubes: Sequence[tuple[object, ...]]


COMMIT_COLUMNS = ("revision", "state", "upload_time", "source_node", "national_receive_time")
