"""While the key rotates, a store with rows of two key versions answers as a store with one version would."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
from hutong.results.v1.document_link_service_pb2 import (
    LinkDocumentsRequest,
    LinkDocumentsResponse,
    UnlinkDocumentsRequest,
    UnlinkDocumentsResponse,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.domain.document import canonical_document
from services.domain.errors import HutongError
from services.domain.instant import HOUR, MINUTE
from services.domain.subject import Pepper
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.lookup.model import ResultQuery
from services.results.records.model import ACTIVE, RECALLED, SUPERSEDED
from services.results.upload.known_batches import add_known, batch_digest, find_known
from services.runtime.ids import uuid7
from services.storage.idempotency import IdempotentRequest
from tests.support.results.factories import (
    NEGATIVE,
    NOW,
    PENDING,
    POSITIVE,
    REPORTED,
    USCC,
    make_document,
    make_lab,
    make_tube,
)
from tests.support.results.store import Laboratory, counts, rejected

OLD, NEW = b"o" * 32, b"n" * 32
ALONE = Pepper(OLD, 1)
"""Before the rotation: the processes know one version."""
FIRST = Pepper(OLD, 1, Pepper(NEW, 2))
"""Processes that still write the old version and read the new one too."""
SECOND = Pepper(NEW, 2, Pepper(OLD, 1))
"""Processes that write the new version and read the old one too."""
PEPPERS = (FIRST, SECOND)
PERSONS = 4
ALL = ResultQuery(states=(ACTIVE, RECALLED, SUPERSEDED))

_worlds = itertools.count(1)


class Send(NamedTuple):
    """An upload of one report: the person, the report number, the outcome and the age in minutes."""

    person: int
    number: int
    outcome: int
    minutes: int


class Tie(NamedTuple):
    """A link of two documents, or the end of it."""

    one: int
    other: int
    is_linked: bool


class World:
    """Four persons of their own, with report numbers of their own, in a store."""

    def __init__(self, laboratory: Laboratory) -> None:
        index = next(_worlds)
        # Names repeat after ten persons, so that the persons of all worlds have equal names.
        self._first, self._upload = 10 * index, f"w{index}"
        self._offset = 0
        self._laboratory = laboratory

    async def do(self, step: Send | Tie, pepper: Pepper) -> object:
        """Take a step as a process with this pepper. Return the answer."""
        if isinstance(step, Send):
            return await self._send(step, pepper)
        if step.one == step.other:
            return None
        try:
            return await self._tie(step, pepper)
        except HutongError as error:
            return error.reason

    async def _send(self, step: Send, pepper: Pepper) -> object:
        reported = REPORTED - step.minutes * MINUTE
        sampled = REPORTED - 5 * HOUR
        tube = make_tube(self._first + step.person, outcome=step.outcome, reported=reported, sampled=sampled)
        tube.tube_code = "T"
        tube.persons[0].report_number = f"{self._upload}-{step.number}"
        answer = await self._laboratory.send([tube], self._offset, upload_id=self._upload, pepper=pepper)
        self._offset += 1
        return counts(answer), rejected(answer)

    async def _tie(self, step: Tie, pepper: Pepper) -> object:
        one, other = (self._document(person, pepper) for person in (step.one, step.other))
        documents, now = self._laboratory.stores.documents, self._laboratory.clock.now()
        if step.is_linked:
            link = DocumentLink(uuid7(), one, other, "", now)
            linking = IdempotentRequest(
                LinkDocumentsRequest(), LinkDocumentsResponse, lambda _: LinkDocumentsResponse(), now
            )
            await documents.link(link, linking)
        else:
            ending = IdempotentRequest(
                UnlinkDocumentsRequest(), UnlinkDocumentsResponse, lambda _: UnlinkDocumentsResponse(), now
            )
            await documents.unlink(one, other, "", ending)
        return "done"

    def _document(self, person: int, pepper: Pepper) -> LinkedDocument:
        document = make_document(self._first + person)
        canonical = canonical_document(document.type, document.number)
        subject_key, other_key = pepper.both_keys(canonical)
        return LinkedDocument(subject_key, 1, str(person), other_key)

    async def answers(self, pepper: Pepper) -> object:
        """Return what a process with this pepper knows of each person."""
        documents = [self._document(person, pepper) for person in range(PERSONS)]
        others = {one.subject_key: one.other_key for one in documents}
        lookup = self._laboratory.stores.lookup
        matches = await lookup.find_subjects([one.subject_key for one in documents], [], NOW, other_keys=others)
        shown = [
            [(one.report_number.partition("-")[2], one.revision, one.outcome) for one in results]
            for results in matches.by_subject
        ]
        listed, links = [], []
        for one in documents:
            listing = await lookup.list_by_subject(one.keys, ALL, None, 99, NOW)
            rows = [(row.report_number.partition("-")[2], row.revision, row.state) for row in listing.results]
            listed.append(rows)
            found = await self._laboratory.stores.documents.list_links(one.keys, None, 99)
            masks = [(sorted((e.document.masked_number, e.linked_document.masked_number)), e) for e in found]
            links.append(sorted((*both, each.unlink_time is None) for both, each in masks))
        # Results of one instant have no order.
        return [sorted(results) for results in shown], [sorted(rows) for rows in listed], links


persons = st.integers(0, PERSONS - 1)
steps = st.one_of(
    st.builds(Send, persons, st.integers(0, 5), st.sampled_from([NEGATIVE, POSITIVE, PENDING]), st.integers(0, 3)),
    st.builds(Tie, persons, persons, st.sampled_from([True, True, False])),
)
histories = st.lists(st.tuples(steps, st.sampled_from(PEPPERS)), max_size=12)
pending, negative = Send(1, 0, PENDING, 0), Send(1, 0, NEGATIVE, 0)


HISTORIES: list[tuple[list[tuple[Send | Tie, Pepper]], int]] = [
    # A sampling record of the old version gets its result, which then comes again.
    ([(pending, FIRST), (negative, SECOND), (pending, SECOND), (negative, SECOND)], 1),
    # A person is linked under the old version and uploaded under the new one, and the other document asks.
    ([(Tie(0, 1, True), FIRST), (negative, SECOND)], 1),
    # A person is uploaded under the old version and linked under the new one.
    ([(negative, FIRST), (Tie(0, 1, True), SECOND), (Tie(1, 0, True), FIRST), (Tie(0, 1, False), FIRST)], 1),
    # A chain of three documents whose links and results are of different versions.
    ([(Tie(0, 1, True), FIRST), (Tie(1, 2, True), SECOND), (negative, SECOND), (Send(2, 1, POSITIVE, 1), FIRST)], 1),
]


async def check(laboratory: Laboratory, history: list[tuple[Send | Tie, Pepper]], before: int) -> None:
    """Compare every answer of a store whose key rotates with that of a store with one key.

    The first steps happen before the rotation. After it processes of both versions work side by side.
    """
    plain, rotating = World(laboratory), World(laboratory)
    for index, (step, pepper) in enumerate(history):
        expected = await plain.do(step, ALONE)
        assert await rotating.do(step, ALONE if index < before else pepper) == expected
    expected = await plain.answers(ALONE)
    for pepper in PEPPERS:
        assert await rotating.answers(pepper) == expected


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, st.integers(0, 6))
async def test_any_interleaving_answers_as_one_key_would(
    sqlite: Laboratory, history: list[tuple[Send | Tie, Pepper]], before: int
) -> None:
    await check(sqlite, history, before)


async def test_the_hard_histories_answer_as_one_key_would(laboratory: Laboratory) -> None:
    """Each engine plays every history of HISTORIES."""
    for history, before in HISTORIES:
        await check(laboratory, history, before)


async def test_the_limit_of_documents_counts_each_document_once(laboratory: Laboratory) -> None:
    """The two keys of one document count once."""
    world = World(laboratory)
    for person in range(1, 16):
        assert await world.do(Tie(0, person, True), PEPPERS[person % 2]) == "done"
    assert await world.do(Tie(16, 3, True), SECOND) == "TOO_MANY_LINKED"


async def test_a_batch_is_known_under_either_version(laboratory: Laboratory) -> None:
    """The laboratory sends its day again after the switch, and hardly anything has to be done."""
    digests = [batch_digest(pepper, make_lab(), [""], b"tubes") for pepper in (FIRST, SECOND)]
    await laboratory.database.write(add_known, USCC, [(digests[0], (), NOW)], None)
    assert await laboratory.stores.uploads.find_known_batch(USCC, digests[::-1]) is not None
    assert await laboratory.database.read(find_known, USCC, digests[1:]) is None


@pytest.mark.parametrize("pepper", [ALONE, *PEPPERS])
def test_a_pepper_shows_its_version_alone(pepper: Pepper) -> None:
    assert repr(pepper) == f"Pepper(version={pepper.version})"
