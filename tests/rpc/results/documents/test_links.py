"""Tying documents through a real server: answers and every documented error, on each engine."""

from __future__ import annotations

from typing import Any

import grpc
from hutong.results.v1.document_link_service_pb2 import (
    LinkDocumentsRequest,
    ListLinkedDocumentsRequest,
    UnlinkDocumentsRequest,
)
from hutong.results.v1.link_pb2 import DocumentLink
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.type.v1.identity_pb2 import DOCUMENT_TYPE_PASSPORT, DOCUMENT_TYPE_RESIDENT_ID_CARD, IdentityDocument

from services.domain.instant import MINUTE, to_timestamp
from tests.support.errors import Failure, failure_of
from tests.support.lists import read_pages
from tests.support.results.factories import NOW, make_document, make_tube
from tests.support.results.node import ResultsNode

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
REQUEST_ID = "0192f0c1-0000-7000-8000-00000000000{}"
CARD = make_document(0)
PASSPORT = IdentityDocument(type=DOCUMENT_TYPE_PASSPORT, number="X18560001", issuing_country="FRA", name="ZHANG SAN")


def link(document: IdentityDocument = CARD, linked: IdentityDocument = PASSPORT, **fields: Any) -> LinkDocumentsRequest:
    fields = {"reason": "both shown at one counter"} | fields
    return LinkDocumentsRequest(document=document, linked_document=linked, **fields)


def unlink(
    document: IdentityDocument = CARD, linked: IdentityDocument = PASSPORT, **fields: Any
) -> UnlinkDocumentsRequest:
    return UnlinkDocumentsRequest(document=document, linked_document=linked, **({"reason": "not one person"} | fields))


async def history(node: ResultsNode, document: IdentityDocument, size: int = 50) -> list[DocumentLink]:
    request = ListLinkedDocumentsRequest(document=document, page_size=size)
    pages = await read_pages(node.links.ListLinkedDocuments, request)
    assert all(len(page.document_links) <= size for page in pages)
    return [link for page in pages for link in page.document_links]


async def test_a_passport_and_a_card_of_one_person_are_tied_and_untied(node: ResultsNode) -> None:
    """Look-ups by either find the other's results while the link holds; neither number shows in it."""
    tube = make_tube(0)
    tube.persons[0].document.CopyFrom(PASSPORT)
    await node.upload([tube])

    async def found() -> list[str]:
        response = await node.results.LookupLatest(LookupLatestRequest(document=CARD))
        return [result.report_number for result in response.in_region]

    assert await found() == []
    tied = (await node.links.LinkDocuments(link())).document_link
    assert (tied.type, tied.linked_type) == (DOCUMENT_TYPE_RESIDENT_ID_CARD, DOCUMENT_TYPE_PASSPORT)
    assert (tied.masked_number, tied.linked_masked_number) == (
        f"{CARD.number[:2]}{'*' * 14}{CARD.number[-2:]}",
        "X1*****01",
    )
    assert (tied.reason, tied.create_time, tied.HasField("unlink_time")) == (
        "both shown at one counter",
        to_timestamp(NOW),
        False,
    )
    assert await found() == ["R0"]
    node.clock.advance(MINUTE)
    ended = (await node.links.UnlinkDocuments(unlink(PASSPORT, CARD))).document_link
    assert (ended.name, ended.unlink_time, ended.unlink_reason) == (
        tied.name,
        to_timestamp(NOW + MINUTE),
        "not one person",
    )
    assert await found() == []
    assert await history(node, CARD) == await history(node, PASSPORT) == [ended]


async def test_history_is_paged_newest_first(node: ResultsNode) -> None:
    """A page token serves only the request for which it was issued."""
    for _ in range(4):
        await node.links.LinkDocuments(link())
        node.clock.advance(MINUTE)
        await node.links.UnlinkDocuments(unlink())
    whole = await history(node, CARD)
    assert len(whole) == 4
    assert [each.create_time.seconds for each in whole] == sorted(
        (each.create_time.seconds for each in whole), reverse=True
    )
    for size in (1, 2, 3):
        assert await history(node, CARD, size) == whole
    token = (
        await node.links.ListLinkedDocuments(ListLinkedDocumentsRequest(document=CARD, page_size=1))
    ).next_page_token
    other = ListLinkedDocumentsRequest(document=PASSPORT, page_token=token)
    assert await failure_of(node.links.ListLinkedDocuments(other)) == (INVALID, "INVALID_PAGE_TOKEN", ["page_token"])
    assert await history(node, make_document(5)) == []


async def test_a_request_id_ties_and_unties_once(node: ResultsNode) -> None:
    tying, untying = link(request_id=REQUEST_ID.format(1)), unlink(request_id=REQUEST_ID.format(1))
    first = await node.links.LinkDocuments(tying)
    ended = await node.links.UnlinkDocuments(untying)
    node.clock.advance(MINUTE)
    assert await node.links.LinkDocuments(tying) == first
    assert await node.links.UnlinkDocuments(untying) == ended
    assert len(await history(node, CARD)) == 1
    reused = (INVALID, "REQUEST_ID_REUSED", ["request_id"])
    assert await failure_of(node.links.LinkDocuments(link(reason="other", request_id=REQUEST_ID.format(1)))) == reused
    assert (
        await failure_of(node.links.UnlinkDocuments(unlink(reason="other", request_id=REQUEST_ID.format(1)))) == reused
    )


BAD = IdentityDocument(type=DOCUMENT_TYPE_RESIDENT_ID_CARD, number="410105186001010011")
NOWHERE = IdentityDocument(type=DOCUMENT_TYPE_PASSPORT, number="X18560001")
WRONG: dict[str, tuple[str, Any, Failure]] = {
    "nothing": (
        "LinkDocuments",
        LinkDocumentsRequest(),
        (INVALID, "INVALID_FIELD", ["document", "linked_document", "reason"]),
    ),
    "check character": ("LinkDocuments", link(BAD), (INVALID, "BAD_DOCUMENT_NUMBER", ["document.number"])),
    "passport of nowhere": (
        "LinkDocuments",
        link(CARD, NOWHERE),
        (INVALID, "BAD_DOCUMENT_NUMBER", ["linked_document.issuing_country"]),
    ),
    "itself": ("LinkDocuments", link(CARD, CARD), (INVALID, "INVALID_FIELD", ["linked_document"])),
    "no reason": ("LinkDocuments", link(reason=""), (INVALID, "INVALID_FIELD", ["reason"])),
    "long reason": ("LinkDocuments", link(reason="因" * 501), (INVALID, "INVALID_FIELD", ["reason"])),
    "NUL in the reason": ("LinkDocuments", link(reason="\0"), (INVALID, "INVALID_FIELD", ["reason"])),
    "request id": ("LinkDocuments", link(request_id="1"), (INVALID, "INVALID_FIELD", ["request_id"])),
    "untie nothing": (
        "UnlinkDocuments",
        UnlinkDocumentsRequest(),
        (INVALID, "INVALID_FIELD", ["document", "linked_document", "reason"]),
    ),
    "untie what is not tied": ("UnlinkDocuments", unlink(), (NOT_FOUND, "NOT_FOUND", [])),
    "untie check character": (
        "UnlinkDocuments",
        unlink(CARD, BAD),
        (INVALID, "BAD_DOCUMENT_NUMBER", ["linked_document.number"]),
    ),
    "list nobody": ("ListLinkedDocuments", ListLinkedDocumentsRequest(), (INVALID, "INVALID_FIELD", ["document"])),
    "list negative size": (
        "ListLinkedDocuments",
        ListLinkedDocumentsRequest(document=CARD, page_size=-1),
        (INVALID, "INVALID_FIELD", ["page_size"]),
    ),
    "list by a made-up token": (
        "ListLinkedDocuments",
        ListLinkedDocumentsRequest(document=CARD, page_token="bm9uZQ"),
        (INVALID, "INVALID_PAGE_TOKEN", ["page_token"]),
    ),
}


async def test_faulty_requests_are_refused_with_their_reasons(node: ResultsNode) -> None:
    answers = {
        name: await failure_of(getattr(node.links, method)(request)) for name, (method, request, _) in WRONG.items()
    }
    assert answers == {name: expected for name, (_, _, expected) in WRONG.items()}
