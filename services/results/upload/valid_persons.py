"""The valid persons of a batch, and the rows that are made of them.

Each step is done for all persons of the batch before the next step begins. That needs fewer calls, and each loop stays
in the processor's caches (docs/performance.md §7).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from services.domain.document import Document
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
from services.results.upload.model import Tube

if TYPE_CHECKING:
    from services.results.records.model import Outcome

ValidPerson: TypeAlias = tuple[int, Document, str, str]
"""The person's index in the tube, the document, the name and the report number."""


class ValidPersons:
    """The valid persons of a batch with what all persons of a tube share, in the order of the upload."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._form = row_form(dialect)
        self._persons: list[ValidPerson] = []
        # The fields of each person's tube.
        self._tube_indexes: list[int] = []
        self._reference_times: list[Instant] = []
        self._outcomes: list[Outcome] = []
        self._items: list[str] = []
        self._formed: list[Any] = []
        # The hash objects of `tube_statement`. The content hash of each person continues a copy.
        self._statements: list[Any] = []

    def add(self, index: int, tube: Tube, persons: Sequence[ValidPerson]) -> None:
        """Add valid persons of a valid tube, given the tube's index in the batch."""
        count = len(persons)
        self._persons += persons
        self._tube_indexes += [index] * count
        self._reference_times += [tube.reference_time] * count
        self._outcomes += [tube.outcome] * count
        self._items += [tube.item] * count
        self._formed += [self._form.form_tube(without_numbers(tube))] * count
        self._statements += [hashlib.blake2b(tube_statement(tube), digest_size=KEY_LENGTH)] * count

    def results(self, lab: str, pepper: Pepper) -> NewResults:
        """Return the results of a laboratory with their rows, and with those under the other key version, if any."""
        positions, documents, names, numbers = (
            map(list, zip(*self._persons, strict=True)) if self._persons else ([],) * 4
        )
        others = None
        if pepper.other is not None:
            other = self._make_columns(lab, pepper.other, documents, names, numbers)
            rows = self._form.form_results(other)
            others = list(map(KeyedForm, other.subject_keys, other.content_hashes, rows))
        new = self._make_columns(lab, pepper, documents, names, numbers)
        columns = ResultColumns(
            self._tube_indexes,
            positions,
            numbers,
            new.subject_keys,
            self._reference_times,
            self._outcomes,
            new.content_hashes,
            self._items,
            others,
        )
        return NewResults.form(self._dialect, columns, new)

    def _make_columns(
        self, lab: str, pepper: Pepper, documents: Sequence[Document], names: Sequence[str], numbers: Sequence[str]
    ) -> NewColumns:
        subject_keys = pepper.keys_of(documents)
        stated_names, name_hashes = pepper.hash_stated_names(names)
        contents = []
        for statement, subject_key, stated_name in zip(self._statements, subject_keys, stated_names, strict=True):
            content = statement.copy()
            content.update(subject_key + stated_name)
            contents.append(content.digest())
        return NewColumns(
            lab,
            pepper.version,
            numbers,
            subject_keys,
            self._reference_times,
            self._outcomes,
            contents,
            name_hashes,
            list(map(mask_name, names)),
            [mask_number(document.number) for document in documents],
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
