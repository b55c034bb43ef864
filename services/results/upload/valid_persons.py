"""The valid persons of a batch, and the rows that are made of them.

Each step is done for all persons of the batch before the next step begins. That needs fewer calls, and each loop stays
in the processor's caches (docs/performance.md §7).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain, compress, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

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
from services.results.records.row_columns import NewColumns
from services.results.records.row_format import row_form
from services.results.upload.model import Tube, TubePersons

if TYPE_CHECKING:
    from services.results.records.model import Outcome


class ValidPersons:
    """The valid persons of a batch: at first all persons, later those that are not left out."""

    def __init__(
        self, tubes: Sequence[Tube], documents: Sequence[Document | BadDocument], persons: TubePersons
    ) -> None:
        self._tubes = tubes
        self._documents = documents
        self._persons = persons
        self._counts = [tube.person_count for tube in tubes]
        self._left_out: list[int] = []

    def leave_out(self, tube_index: int, persons: Sequence[int]) -> None:
        """Leave out persons of a tube, given by their indexes in the batch."""
        self._counts[tube_index] -= len(persons)
        self._left_out += persons

    def results(self, dialect: str, lab: str, pepper: Pepper) -> NewResults:
        """Return the results of a laboratory with their rows, and with those under the other key version, if any."""
        form = row_form(dialect)
        # A tube without a valid person may lack times, and no row could be made of it.
        tubes = [(at, tube) for at, tube in enumerate(self._tubes) if self._counts[at]]
        content = _Content(
            lab,
            self._keep(self._documents),
            self._keep(self._persons.names),
            self._keep(self._persons.report_numbers),
            self._spread([tube.reference_time for _, tube in tubes]),
            self._spread([tube.outcome for _, tube in tubes]),
            self._spread([form.form_tube(without_numbers(tube)) for _, tube in tubes]),
            self._spread([hashlib.blake2b(tube_statement(tube), digest_size=KEY_LENGTH) for _, tube in tubes]),
        )
        new = content.under(pepper)
        others = None
        if pepper.other is not None:
            other = content.under(pepper.other)
            rows = form.split_results(form.form_results(other))
            others = list(map(KeyedForm, other.subject_keys, other.content_hashes, rows))
        columns = ResultColumns(
            self._spread([at for at, _ in tubes]),
            self._keep([place for tube in self._tubes for place in range(tube.person_count)]),
            content.report_numbers,
            new.subject_keys,
            content.reference_times,
            content.outcomes,
            new.content_hashes,
            self._spread([tube.item for _, tube in tubes]),
            others,
        )
        return NewResults.form(dialect, columns, new)

    def _keep(self, column: Sequence[Any]) -> Sequence[Any]:
        """Return a column of all persons without those that are left out."""
        if not self._left_out:
            return column
        kept = bytearray(b"\1" * len(column))
        for at in self._left_out:
            kept[at] = 0
        return list(compress(column, kept))

    def _spread(self, values: Iterable[Any]) -> list[Any]:
        """Return the column of valid persons in which each person has the value of the tube, given one value a tube."""
        return list(chain.from_iterable(map(repeat, values, filter(None, self._counts))))


class _Content(NamedTuple):
    """What rows of valid persons are made of, in columns.

    `statements` are the hash objects of `tube_statement`. The content hash of each person continues a copy.
    """

    lab: str
    documents: Sequence[Document]
    names: Sequence[str]
    report_numbers: Sequence[str]
    reference_times: Sequence[Instant]
    outcomes: Sequence[Outcome]
    tubes: Sequence[Any]
    statements: Sequence[Any]

    def under(self, pepper: Pepper) -> NewColumns:
        """Return the columns under a key version."""
        subject_keys = pepper.keys_of(self.documents)
        stated_names, name_hashes = pepper.hash_stated_names(self.names)
        content_hashes = []
        for statement, subject_key, stated_name in zip(self.statements, subject_keys, stated_names, strict=True):
            content = statement.copy()
            content.update(subject_key + stated_name)
            content_hashes.append(content.digest())
        return NewColumns(
            self.lab,
            pepper.version,
            self.report_numbers,
            subject_keys,
            self.reference_times,
            self.outcomes,
            content_hashes,
            name_hashes,
            list(map(mask_name, self.names)),
            [mask_number(document.number) for document in self.documents],
            self.tubes,
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
