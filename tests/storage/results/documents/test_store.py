"""Linked documents: found together, unlinked again, kept in history, and limited in number."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable

import pytest
from hutong.results.v1.document_link_service_pb2 import (
    LinkDocumentsRequest,
    LinkDocumentsResponse,
    UnlinkDocumentsRequest,
    UnlinkDocumentsResponse,
)
from sqlalchemy import Connection, insert

from services.domain.errors import FailedPrecondition, InvalidArgument, NotFound
from services.domain.instant import HOUR
from services.results.documents.limits import MAX_KEPT_LINKS
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.documents.rows import link_values
from services.results.documents.store import MAX_LINKED, insert_link, link_documents
from services.results.documents.tables import document_links
from services.results.lookup.model import ResultQuery
from services.runtime.ids import uuid7
from services.storage.idempotency import IdempotentRequest
from tests.support.databases import MakeUrl, count_waiting
from tests.support.results.factories import NOW, REPORTED, make_tube, make_tubes, subject_key
from tests.support.results.store import Laboratory, open_laboratory
from tests.support.waiting import until

REQUEST_ID = "0192f0c1-0000-7000-8000-00000000000{}"


@pytest.fixture
async def laboratory(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    async with open_laboratory(database_url("results")) as opened:
        yield opened


def document(person: int) -> LinkedDocument:
    return LinkedDocument(subject_key(person), 1, f"{person}*")


async def link(
    laboratory: Laboratory, one: int, other: int, reason: str = "same holder", request_id: str = ""
) -> DocumentLink | None:
    """Link two documents. Return None if the call repeats a request id."""
    made: list[DocumentLink] = []

    def encode(each: DocumentLink) -> LinkDocumentsResponse:
        made.append(each)
        return LinkDocumentsResponse()

    asked = DocumentLink(uuid7(), document(one), document(other), reason, laboratory.clock.now())
    request = LinkDocumentsRequest(reason=reason, request_id=request_id)
    await laboratory.stores.documents.link(
        asked, IdempotentRequest(request, LinkDocumentsResponse, encode, laboratory.clock.now())
    )
    return made[0] if made else None


async def unlink(laboratory: Laboratory, one: int, other: int, reason: str = "a mistake") -> DocumentLink:
    ended: list[DocumentLink] = []

    def encode(each: DocumentLink) -> UnlinkDocumentsResponse:
        ended.append(each)
        return UnlinkDocumentsResponse()

    idempotent = IdempotentRequest(UnlinkDocumentsRequest(), UnlinkDocumentsResponse, encode, laboratory.clock.now())
    await laboratory.stores.documents.unlink(document(one), document(other), reason, idempotent)
    return ended[0]


async def found(laboratory: Laboratory, *persons: int) -> list[list[str]]:
    keys = [subject_key(person) for person in persons]
    matches = await laboratory.stores.lookup.find_subjects(keys, [], NOW)
    return [[result.report_number for result in results] for results in matches.by_subject]


async def test_either_document_finds_the_results_of_both_newest_first(laboratory: Laboratory) -> None:
    """Look-ups and listings by either of two linked documents have the results of both, until the link ends.

    Other subjects in the same read are not affected.
    """
    await laboratory.send([make_tube(person, reported=REPORTED - person * HOUR) for person in range(4)])
    await link(laboratory, 2, 0)
    assert await found(laboratory, 0, 1, 2, 3) == [["R0", "R2"], ["R1"], ["R0", "R2"], ["R3"]]
    for person in (0, 2):
        listing = await laboratory.stores.lookup.list_by_subject([subject_key(person)], ResultQuery(), None, 9, NOW)
        assert [result.report_number for result in listing.results] == ["R0", "R2"]
    await unlink(laboratory, 0, 2)
    assert await found(laboratory, 0, 2) == [["R0"], ["R2"]]


async def test_links_reach_along_a_chain_and_round_a_circle(laboratory: Laboratory) -> None:
    await laboratory.send(make_tubes(4))
    for one, other in ((0, 1), (1, 2), (2, 3), (3, 0)):
        await link(laboratory, one, other)
    assert [sorted(each) for each in await found(laboratory, 0, 2)] == [["R0", "R1", "R2", "R3"]] * 2
    await unlink(laboratory, 3, 0)
    await unlink(laboratory, 1, 2)
    assert [sorted(each) for each in await found(laboratory, 0, 3)] == [["R0", "R1"], ["R2", "R3"]]


async def test_links_beyond_the_limit_of_documents_are_refused(laboratory: Laboratory) -> None:
    """The link that would exceed the limit is refused, from either side and along any chain."""
    await laboratory.send(make_tubes(MAX_LINKED + 2))
    for other in range(1, MAX_LINKED):
        await link(laboratory, other - other % 3, other)
        await link(laboratory, 0, other)
    for pair in ((3, MAX_LINKED), (MAX_LINKED, 0)):
        with pytest.raises(FailedPrecondition) as caught:
            await link(laboratory, *pair)
        assert (caught.value.reason, caught.value.metadata) == ("TOO_MANY_LINKED", {"limit": "16", "count": "17"})
    # Documents of one group may be linked to each other again. The two groups may not be linked.
    await link(laboratory, 1, 2)
    await link(laboratory, MAX_LINKED, MAX_LINKED + 1)
    with pytest.raises(FailedPrecondition):
        await link(laboratory, MAX_LINKED + 1, 5)
    assert [len(numbers) for numbers in await found(laboratory, 0, 9, MAX_LINKED)] == [MAX_LINKED, MAX_LINKED, 2]


async def test_links_of_a_document_are_bounded_with_those_that_have_ended(laboratory: Laboratory) -> None:
    """The error names the document that has too many. A link that exists already is returned."""

    def fill(connection: Connection) -> None:
        ended = [
            DocumentLink(uuid7(), document(index % 2), document(2), "", NOW, unlink_time=NOW)
            for index in range(MAX_KEPT_LINKS - 1)
        ]
        connection.execute(insert(document_links), [link_values(one) for one in ended])

    await laboratory.database.write(fill)
    made = await link(laboratory, 3, 2)
    with pytest.raises(FailedPrecondition) as caught:
        await link(laboratory, 4, 2)
    expected = {"field": "linked_document", "limit": str(MAX_KEPT_LINKS), "count": str(MAX_KEPT_LINKS)}
    assert (caught.value.reason, caught.value.metadata) == ("TOO_MANY_LINKED", expected)
    assert await link(laboratory, 2, 3) == made
    await link(laboratory, 0, 4)


async def test_concurrent_links_do_not_exceed_the_limit_together(laboratory: Laboratory) -> None:
    for other in range(1, MAX_LINKED - 1):
        await link(laboratory, 0, other)
    made = await asyncio.gather(*(link(laboratory, 0, 20 + index) for index in range(6)), return_exceptions=True)
    assert sum(isinstance(each, FailedPrecondition) for each in made) == 5
    assert sum(isinstance(each, DocumentLink) for each in made) == 1


async def test_a_look_up_reads_at_most_so_many_documents(laboratory: Laboratory) -> None:
    """More links than the limit may come from other nodes. The document of the look-up is always included."""
    count = MAX_LINKED + 9
    await laboratory.send(make_tubes(count))

    def link_all(connection: Connection) -> None:
        for other in range(1, count):
            insert_link(connection, DocumentLink(uuid7(), document(0), document(other), "", NOW))

    await laboratory.database.write(link_all)
    for person in (0, count - 1):
        (numbers,) = await found(laboratory, person)
        assert len(numbers) == MAX_LINKED
        assert f"R{person}" in numbers


async def test_linking_twice_is_linking_once(laboratory: Laboratory) -> None:
    """A link in the other direction returns the active link, and so do concurrent calls. One call ends the link."""
    first = await link(laboratory, 0, 1)
    assert await link(laboratory, 1, 0, "again") == first
    await unlink(laboratory, 0, 1)
    pairs: Iterable[tuple[int, int]] = itertools.islice(itertools.cycle([(0, 1), (1, 0)]), 8)
    made = await asyncio.gather(*(link(laboratory, *pair) for pair in pairs))
    assert len({each.link_id for each in made if each}) == 1
    await unlink(laboratory, 1, 0)
    with pytest.raises(NotFound):
        await unlink(laboratory, 0, 1)


async def test_a_concurrent_link_of_the_same_documents_returns_the_first_one(postgres_url: MakeUrl) -> None:
    """The second link waits for the commit of the first, although there is no row yet that could be locked."""
    async with open_laboratory(postgres_url("results")) as laboratory:
        with laboratory.database.engine.connect() as connection, connection.begin():
            first = link_documents(connection, DocumentLink(uuid7(), document(0), document(1), "first", NOW))
            second = asyncio.ensure_future(link(laboratory, 1, 0, "second"))
            await waits_for_a_lock(laboratory)
        assert await second == first


async def waits_for_a_lock(laboratory: Laboratory) -> None:
    async def is_any() -> bool:
        return await laboratory.database.read(count_waiting) > 0

    await until(is_any)


async def test_an_ended_link_stays_in_history_and_can_be_made_again(laboratory: Laboratory) -> None:
    """History is newest first, in pages, from either side, and without links of other subjects."""
    made = []
    for reason in ("first", "second", "third"):
        laboratory.clock.advance(HOUR)
        made.append(await link(laboratory, 0, 1, reason))
        if reason != "third":
            laboratory.clock.advance(HOUR)
            ended = await unlink(laboratory, 1, 0, f"not {reason}")
            assert (ended.unlink_time, ended.unlink_reason) == (laboratory.clock.now(), f"not {reason}")
    await link(laboratory, 2, 3)
    for person in (0, 1):
        history = await laboratory.stores.documents.list_links([subject_key(person)], None, 9)
        assert [(each.reason, each.unlink_reason, each.unlink_time is None) for each in history] == [
            ("third", "", True),
            ("second", "not second", False),
            ("first", "not first", False),
        ]
        after = (history[0].create_time, history[0].link_id)
        assert await laboratory.stores.documents.list_links([subject_key(person)], after, 1) == [history[1]]


async def test_links_of_one_instant_are_paged_without_a_gap(laboratory: Laboratory) -> None:
    for other in range(1, 8):
        await link(laboratory, 0, other)
    seen: list[str] = []
    after = None
    while page := await laboratory.stores.documents.list_links([subject_key(0)], after, 2):
        seen += [each.link_id for each in page]
        after = (page[-1].create_time, page[-1].link_id)
    assert len(seen) == len(set(seen)) == 7
    assert seen == sorted(seen, reverse=True)


async def test_a_request_id_links_once(laboratory: Laboratory) -> None:
    """A repeated call after the link ended returns the first answer, and the documents stay unlinked."""
    assert await link(laboratory, 0, 1, request_id=REQUEST_ID.format(1)) is not None
    await unlink(laboratory, 0, 1)
    assert await link(laboratory, 0, 1, request_id=REQUEST_ID.format(1)) is None
    with pytest.raises(InvalidArgument):
        await link(laboratory, 0, 1, "other", request_id=REQUEST_ID.format(1))
    with pytest.raises(NotFound):
        await unlink(laboratory, 0, 1)
