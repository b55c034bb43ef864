"""While the key rotates, the nation answers about a document under its two keys as about one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest
from hutong.exchange.v1.exchange_service_pb2 import LookupSubjectsRequest, SubjectResults
from hutong.exchange.v1.replica_pb2 import ReplicatedLink
from hutong.results.v1.lookup_pb2 import DataSource

from services.domain.document import Document, canonical_document
from services.domain.errors import InvalidArgument
from services.domain.subject import Pepper
from services.results.documents.convert import linked_from_proto
from services.results.documents.model import DocumentLink
from services.results.documents.store import find_linked, find_links
from services.results.exchange.apply_registers import receive_link
from services.results.exchange.arrival import Arrival
from services.results.exchange.convert.links import fill_link, link_from_proto
from services.results.exchange.downstream.freshness import NodeRegistry
from services.results.exchange.downstream.subject_lookup import SubjectLookup
from services.runtime.ids import uuid7
from tests.support.databases import MakeUrl
from tests.support.results.factories import NOW, make_document, make_tube
from tests.support.results.store import Laboratory, open_laboratory

JILIN, NATION = "220000", "000000"
OLD, NEW = b"o" * 32, b"n" * 32
FIRST, SECOND = Pepper(OLD, 1, Pepper(NEW, 2)), Pepper(NEW, 2, Pepper(OLD, 1))
PEPPERS = (FIRST, SECOND)


class Fresh:
    """A registry of no nodes."""

    async def sources(self) -> list[DataSource]:
        return [DataSource()]

    async def await_fresh(self, commits: object) -> None:
        pass


@pytest.fixture
async def jilin(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """The nation's store, with what a laboratory of Jilin has uploaded there."""
    async with open_laboratory(database_url("results")) as opened:
        yield opened


def document(person: int) -> Document:
    message = make_document(person)
    return canonical_document(message.type, message.number)


async def look_up(laboratory: Laboratory, pepper: Pepper, *persons: int) -> list[SubjectResults]:
    """Ask the nation as a node with this pepper."""
    handler = SubjectLookup(laboratory.stores.lookup, cast("NodeRegistry", Fresh()), pepper, laboratory.clock)
    keys = [pepper.subject_keys(document(person)) for person in persons]
    request = LookupSubjectsRequest(
        node="nodes/410000",
        subject_keys=[first for first, _ in keys],
        other_subject_keys=[other for _, other in keys],
    )
    return list((await handler.look_up(request)).subjects)


async def test_both_keys_of_a_document_are_looked_up_as_one(jilin: Laboratory) -> None:
    """Results of both versions are found, whichever version the asking node writes."""
    for index, pepper in enumerate(PEPPERS):
        tube = make_tube(1)
        tube.persons[0].report_number = f"R{index}"
        await jilin.send([tube], upload_id=f"u{index}", pepper=pepper)
    for pepper in PEPPERS:
        found, nothing = await look_up(jilin, pepper, 1, 2)
        assert {result.report_number for result in found.results} == {"R0", "R1"}
        assert list(found.subject_keys) == pepper.subject_keys(document(1))
        assert (list(nothing.results), list(nothing.subject_keys)) == ([], pepper.subject_keys(document(2)))


async def test_a_question_without_a_second_key_for_each_document_is_refused(jilin: Laboratory) -> None:
    handler = SubjectLookup(jilin.stores.lookup, cast("NodeRegistry", Fresh()), FIRST, jilin.clock)
    request = LookupSubjectsRequest(node="nodes/410000", subject_keys=[b"a" * 16, b"b" * 16])
    request.other_subject_keys.append(b"c" * 16)
    with pytest.raises(InvalidArgument) as caught:
        await handler.look_up(request)
    assert caught.value.violations[0].field == "other_subject_keys"


def link(pepper: Pepper, one: int, other: int) -> ReplicatedLink:
    """Return a link as a node with this pepper sends it."""
    documents = [linked_from_proto(make_document(person), pepper, "document") for person in (one, other)]
    message = ReplicatedLink()
    fill_link(message, DocumentLink(uuid7(), *documents, "", NOW, key_version=pepper.version))
    return message


async def test_a_replicated_link_leads_to_results_of_the_other_version(jilin: Laboratory) -> None:
    """The link names both keys of each document, and passes them on."""
    sent = link(FIRST, 1, 2)
    for person, pepper in [(1, FIRST), (2, SECOND)]:
        await jilin.send([make_tube(person)], upload_id=f"u{person}", pepper=pepper)
    assert await jilin.database.write(receive_link, link_from_proto(sent), Arrival(NATION, JILIN, NOW))
    for pepper in PEPPERS:
        (found,) = await look_up(jilin, pepper, 1)
        assert {result.report_number for result in found.results} == {"R1", "R2"}
        assert len(found.subject_keys) == 4
    (stored,) = await jilin.database.read(find_links, [sent.name.removeprefix("links/")])
    again = ReplicatedLink()
    fill_link(again, stored)
    sent.source_node = f"nodes/{JILIN}"
    assert again == sent


async def test_keys_of_a_node_without_results_of_the_document_are_not_joined(jilin: Laboratory) -> None:
    """The nation cannot check that two keys are of one document. A lie must not join a stranger to linked documents."""
    one_key = Pepper(OLD)
    await jilin.send([make_tube(person) for person in (1, 2, 6)], upload_id="u", pepper=one_key)
    assert await jilin.database.write(receive_link, link_from_proto(link(one_key, 1, 2)), Arrival(NATION, JILIN, NOW))
    lying, stranger = link(one_key, 1, 4), one_key.subject_key(document(6))
    lying.other_subject_key = stranger
    assert await jilin.database.write(receive_link, link_from_proto(lying), Arrival(NATION, "370000", NOW))
    keys = [one_key.subject_key(document(person)) for person in (1, 2)]
    linked = await jilin.database.read(find_linked, keys)
    assert {key: sorted(found) for key, found in linked.items()} == dict.fromkeys(keys, sorted(keys))
