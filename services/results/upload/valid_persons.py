"""The valid persons of a batch, and the rows that are made of them.

Each step is done for all persons of the batch before the next step begins. That needs fewer calls, and each loop stays
in the processor's caches (docs/performance.md §7).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

from services.domain.document import BadDocument, Document
from services.domain.instant import Instant
from services.domain.subject import (
    KEY_LENGTH,
    RESIDENT_NUMBER_LENGTH,
    Pepper,
    mask_name,
    mask_number,
    mask_resident_numbers,
)
from services.results.records.model import KeyedForm
from services.results.records.new_results import NewResults, ResultColumns
from services.results.records.row_format import NewColumns, row_form
from services.results.upload.model import Tube, TubePersons

if TYPE_CHECKING:
    from services.results.records.model import Outcome


class ValidPersons:
    """The valid persons of a batch, with what all persons of a tube share, in columns in the order of the upload."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._form = row_form(dialect)
        self._positions: list[int] = []
        self._documents: list[Document] = []
        self._names: list[str] = []
        self._report_numbers: list[str] = []
        # The fields of each person's tube.
        self._tube_indexes: list[int] = []
        self._reference_times: list[Instant] = []
        self._outcomes: list[Outcome] = []
        self._items: list[str] = []
        self._formed: list[Any] = []
        # The hash objects of `tube_statement`. The content hash of each person continues a copy.
        self._statements: list[Any] = []

    def add_tube(self, index: int, tube: Tube, count: int) -> None:
        """Add a valid tube, given its index in the batch and how many of its persons are valid."""
        self._tube_indexes += [index] * count
        self._reference_times += [tube.reference_time] * count
        self._outcomes += [tube.outcome] * count
        self._items += [tube.item] * count
        self._formed += [self._form.form_tube(without_numbers(tube))] * count
        self._statements += [hashlib.blake2b(tube_statement(tube), digest_size=KEY_LENGTH)] * count

    def add_persons(
        self,
        person_counts: Sequence[int],
        documents: Sequence[Document | BadDocument],
        persons: TubePersons,
        left_out: Sequence[int],
    ) -> None:
        """Add all persons of the batch but those that are left out, given by their indexes in the batch."""
        positions = [position for count in person_counts for position in range(count)]
        columns: Iterable[Iterable[Any]] = (positions, documents, persons.names, persons.report_numbers)
        if left_out:
            kept = bytearray(b"\1" * len(positions))
            for at in left_out:
                kept[at] = 0
            columns = [compress(column, kept) for column in columns]
        self._positions, self._documents, self._names, self._report_numbers = map(list, columns)

    def results(self, lab: str, pepper: Pepper) -> NewResults:
        """Return the results of a laboratory with their rows, and with those under the other key version, if any."""
        others = None
        if pepper.other is not None:
            other = self._make_columns(lab, pepper.other)
            rows = self._form.form_results(other)
            others = list(map(KeyedForm, other.subject_keys, other.content_hashes, rows))
        new = self._make_columns(lab, pepper)
        columns = ResultColumns(
            self._tube_indexes,
            self._positions,
            self._report_numbers,
            new.subject_keys,
            self._reference_times,
            self._outcomes,
            new.content_hashes,
            self._items,
            others,
        )
        return NewResults.form(self._dialect, columns, new)

    def _make_columns(self, lab: str, pepper: Pepper) -> NewColumns:
        subject_keys = pepper.keys_of(self._documents)
        stated_names, name_hashes = pepper.hash_stated_names(self._names)
        contents = []
        for statement, subject_key, stated_name in zip(self._statements, subject_keys, stated_names, strict=True):
            content = statement.copy()
            content.update(subject_key + stated_name)
            contents.append(content.digest())
        return NewColumns(
            lab,
            pepper.version,
            self._report_numbers,
            subject_keys,
            self._reference_times,
            self._outcomes,
            contents,
            name_hashes,
            list(map(mask_name, self._names)),
            [mask_number(document.number) for document in self._documents],
            self._formed,
        )


def without_numbers(tube: Tube) -> Tube:
    """Return a tube as it is stored: resident identity card numbers in the site's name are masked.

    The content hash still covers the unmasked text, so that the same tube sent again is a duplicate.
    """
    if len(tube.sample_site) < RESIDENT_NUMBER_LENGTH:
        return tube
    masked = mask_resident_numbers(tube.sample_site)
    return tube if masked == tube.sample_site else tube._replace(sample_site=masked)


def tube_statement(tube: Tube) -> bytes:
    """Return everything that a laboratory stated of a tube except its persons, in a fixed form for the content hash.

    The default item adds nothing. A tube without an item therefore has the same hash as before tubes had items.
    """
    of_item = (tube.item,) if tube.item else ()
    return "\x1f".join(
        (
            tube.tube_code,
            str(tube.pool_size),
            str(tube.specimen),
            str(tube.method),
            str(tube.outcome),
            tube.sample_region,
            tube.sample_site,
            str(tube.sample_time),
            str(tube.receive_time),
            str(tube.test_time),
            str(tube.report_time),
            *of_item,
        )
    ).encode()
