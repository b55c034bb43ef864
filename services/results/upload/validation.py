"""Validates what a laboratory sends: finds the valid items, and all faults of the others. Pure functions.

The times, region, pool and standing of a tube are validated once for the tube; document and report number are validated
for each person. All faults of an item are found in one pass. A faulty item does not affect other items.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from hutong_texts import english

from services.domain.document import BadDocument, Document, canonical_documents
from services.domain.errors import Violation
from services.domain.instant import Instant, format_instant
from services.domain.names import DEFAULT_ITEM, describe_item, format_node
from services.domain.region import is_region
from services.domain.subject import Pepper, holds_resident_number
from services.results.labs.model import MAY_REPORT, Lab
from services.results.records.differences import Difference
from services.results.records.model import FUTURE_TOLERANCE, PENDING, POOL_POSITIVE, POSITIVE, NewResult
from services.results.upload.model import Rejection, Tube, TubePersons, ValidatedBatch
from services.results.upload.valid_persons import ValidPersons

MAX_TUBES = 1_000
"""The most tubes of a batch, as the contract states."""
MAX_BATCH_BYTES = 1024 * 1024
"""The most bytes of a batch, as the contract states."""
WHOLE_TUBE = -1
"""The person index of a fault of the whole tube."""

_TIMES = ("sample_time", "receive_time", "test_time", "report_time")

TubeFaults = Mapping[int, Sequence[tuple[int, Violation]]]
"""Violations of the contract's rules: tube index → (person index or WHOLE_TUBE, violation)."""


@dataclass(frozen=True, slots=True)
class BatchValidator:
    """Validates batches of a laboratory at an instant.

    Rows are made here, for the engine of `dialect`, because validation runs in worker processes. The commit runs in the
    server's process. `items` are the ids of the items that the upload admits.
    """

    now: Instant
    pepper: Pepper
    lab: Lab
    dialect: str
    items: Collection[str] = (DEFAULT_ITEM,)

    def validate_batch(
        self, offset: int, tubes: Sequence[Tube], persons: TubePersons, faults: TubeFaults
    ) -> ValidatedBatch:
        """Validate each item by itself.

        Each kind of fault is looked for in the whole batch, because nearly all batches have none.
        """
        person_counts = [tube.person_count for tube in tubes]
        documents = canonical_documents(persons.document_types, persons.numbers, persons.issuing_countries)
        of_persons = self._find_person_faults(person_counts, documents, persons.report_numbers, faults)
        of_tubes = {index: found for index, tube in enumerate(tubes) if (found := self._find_tube_faults(tube))}
        for index, known in faults.items():
            stated = [violation for person, violation in known if person == WHOLE_TUBE]
            fields = {violation.field for violation in stated}
            found = [*stated, *(one for one in of_tubes.get(index, ()) if one.field not in fields)]
            if found:
                of_tubes[index] = found
        valid = ValidPersons(tubes, documents, persons)
        rejections: list[Rejection] = []
        if of_tubes or of_persons:
            rejections = _leave_out_faulty(valid, person_counts, of_tubes, of_persons)
        results = valid.results(self.dialect, self.lab.uscc, self.pepper)
        return ValidatedBatch(offset, person_counts, results, rejections)

    @staticmethod
    def _find_person_faults(
        person_counts: Sequence[int],
        documents: Sequence[Document | BadDocument],
        report_numbers: Sequence[str],
        faults: TubeFaults,
    ) -> dict[int, list[Violation]]:
        """Return the faults of each faulty person, by the person's index in the batch."""
        known: dict[int, list[Violation]] = {}
        if faults:
            starts = list(accumulate(person_counts, initial=0))
            for tube_index, of_tube in faults.items():
                for position, violation in of_tube:
                    if position != WHOLE_TUBE:
                        known.setdefault(starts[tube_index] + position, []).append(violation)
        suspects = {at for at, document in enumerate(documents) if isinstance(document, BadDocument)}
        suspects.update(at for at, number in enumerate(report_numbers) if holds_resident_number(number))
        if not suspects:
            return known
        positions = [position for count in person_counts for position in range(count)]
        for at in suspects:
            violations = known.setdefault(at, [])
            document, position = documents[at], positions[at]
            if isinstance(document, BadDocument) and not any(".document" in one.field for one in violations):
                path = f"persons[{position}].document.{document.field}"
                violations.append(Violation(path, "BAD_DOCUMENT_NUMBER", document.expected))
            its_field = f"persons[{position}].report_number"
            if holds_resident_number(report_numbers[at]) and its_field not in {one.field for one in violations}:
                violations.append(_holds_number(its_field))
        return known

    def _find_tube_faults(self, tube: Tube) -> list[Violation]:
        faults: list[Violation] = []
        if tube.sample_region and not is_region(tube.sample_region):
            faults.append(Violation("sample_region", "REGION_UNKNOWN", english("is not a region of GB/T 2260")))
        if holds_resident_number(tube.tube_code):
            faults.append(_holds_number("tube_code"))
        if tube.item not in self.items:
            faults.append(_not_admitted(tube.item))
        faults += self._find_pool_faults(tube)
        faults += self._find_time_faults(tube)
        reference_time = tube.sample_time if tube.report_time is None else tube.report_time
        if reference_time is not None and self.lab.standing_at(reference_time) not in MAY_REPORT:
            field = "sample_time" if tube.report_time is None else "report_time"
            faults.append(
                Violation(field, "LAB_NOT_AUTHORIZED", english("the laboratory was not authorised at this time"))
            )
        return faults

    @staticmethod
    def _find_pool_faults(tube: Tube) -> list[Violation]:
        faults = []
        if tube.person_count > tube.pool_size > 0:
            text = english(
                "{count} persons do not fit a tube for {pool_size}", count=tube.person_count, pool_size=tube.pool_size
            )
            faults.append(Violation("persons", "POOL_MISMATCH", text))
        if tube.outcome == POSITIVE and tube.pool_size > 1:
            text = english("a pool is reported POOL_POSITIVE; its members are rechecked in single tubes")
            faults.append(Violation("outcome", "POOL_MISMATCH", text))
        if tube.outcome == POOL_POSITIVE and tube.pool_size == 1:
            faults.append(Violation("outcome", "POOL_MISMATCH", english("a single tube is reported POSITIVE")))
        return faults

    def _find_time_faults(self, tube: Tube) -> list[Violation]:
        faults = []
        if tube.outcome == PENDING:
            if tube.report_time is not None:
                faults.append(
                    Violation("report_time", "INVALID_FIELD", english("a sampling record has no report time yet"))
                )
        elif tube.report_time is None:
            faults.append(Violation("report_time", "INVALID_FIELD", english("value is required")))
        times = (tube.sample_time, tube.receive_time, tube.test_time, tube.report_time)
        horizon = self.now + FUTURE_TOLERANCE
        stated = [instant for instant in times if instant is not None]
        if stated == sorted(stated) and (not stated or stated[-1] <= horizon):
            # Nearly every tube takes this branch.
            return faults
        latest: Instant | None = None
        latest_name = ""
        for name, instant in zip(_TIMES, times, strict=True):
            if instant is None:
                continue
            if instant > horizon:
                text = english("lies more than 5 minutes ahead of the server's clock")
                faults.append(Violation(name, "TIME_IN_FUTURE", text))
            if latest is not None and instant < latest:
                faults.append(
                    Violation(name, "TIMES_OUT_OF_ORDER", english("is before {latest_name}", latest_name=latest_name))
                )
            else:
                latest, latest_name = instant, name
        return faults


def _leave_out_faulty(
    valid: ValidPersons,
    person_counts: Sequence[int],
    of_tubes: Mapping[int, Sequence[Violation]],
    of_persons: Mapping[int, Sequence[Violation]],
) -> list[Rejection]:
    """Leave faulty persons and all persons of faulty tubes out of the valid persons. Return the rejections.

    The persons' faults are given by the persons' indexes in the batch.
    """
    rejections = []
    start = 0
    for index, count in enumerate(person_counts):
        whose = range(start, start + count)
        start += count
        faulty = [at for at in whose if at in of_persons]
        if index in of_tubes:
            every = (*of_tubes[index], *chain.from_iterable(of_persons[at] for at in faulty))
            retryable = all(violation.reason == "TIME_IN_FUTURE" for violation in every)
            rejections.append(Rejection(index, WHOLE_TUBE, every, retryable))
            valid.leave_out(index, whose)
        elif faulty:
            rejections += [Rejection(index, at - whose.start, tuple(of_persons[at])) for at in faulty]
            valid.leave_out(index, faulty)
    return rejections


def _holds_number(field: str) -> Violation:
    """Return the fault of a code that contains a document number, which every reader of the code would see."""
    text = english("holds a resident identity card number: codes and report numbers must be the laboratory's own")
    return Violation(field, "INVALID_FIELD", text)


def _not_admitted(item: str) -> Violation:
    """Return the fault of a tube whose item the upload does not admit."""
    text = english(
        "this upload does not admit {item}; name the item in start.items if the test belongs here",
        item=describe_item(item),
    )
    return Violation("item", "ITEM_NOT_ADMITTED", text)


def part_removed(rows: Sequence[NewResult], horizon: Instant | None) -> tuple[Sequence[NewResult], Sequence[Rejection]]:
    """Separate the results that may be stored from the results before the horizon, which are rejected."""
    if horizon is None or all(row.reference_time >= horizon for row in rows):
        return rows, ()
    text = english(
        "results reported before {horizon} were removed and are not taken in again", horizon=format_instant(horizon)
    )
    rejections = [
        Rejection(
            row.tube_index,
            row.person_index,
            (Violation("sample_time" if row.outcome == PENDING else "report_time", "BEFORE_HORIZON", text),),
        )
        for row in rows
        if row.reference_time < horizon
    ]
    return [row for row in rows if row.reference_time >= horizon], rejections


def conflict(position: int, difference: Difference | None) -> Violation:
    """Return the fault of a report that is stored with other content.

    `difference` is None if no compared field differs.
    """
    person = f"persons[{position}]"
    if difference is None:
        text = english("this report is stored with other content; use CorrectResult to change it")
        return Violation(f"{person}.report_number", "CONFLICT", text)
    if difference.field == "item":
        text = english(
            "this report is stored with {stored_item}; use CorrectResult to change its item",
            stored_item=describe_item(difference.stored_item),
        )
        return Violation("item", "CONFLICT", text)
    if difference.field == "document":
        text = english("this report number is stored with another document; each report needs a number of its own")
        return Violation(f"{person}.document", "CONFLICT", text)
    text = english("differs from the stored report of this number; use CorrectResult to change it")
    field = f"{person}.document.name" if difference.field == "name" else difference.field
    return Violation(field, "CONFLICT", text)


def not_the_origin(position: int, region: str) -> Violation:
    """Return the fault of a result whose sampling record another node received. That node must get the result."""
    text = english("its sampling record was received by {region}: upload its result there", region=format_node(region))
    return Violation(f"persons[{position}].report_number", "NOT_THE_ORIGIN", text)
