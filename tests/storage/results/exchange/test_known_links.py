"""Copies of known links from the node above cost few statements, however many there are."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import select

from services.domain.region import NATION
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.documents.tables import document_links
from services.results.exchange.arrival import Arrival
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, JILIN
from tests.support.results.factories import NOW, subject_key
from tests.support.results.store import open_laboratory
from tests.support.work import noting_statements

MANY = 700


def copy_of(number: int, **fields: Any) -> DocumentLink:
    documents = [LinkedDocument(subject_key(person), 1, "") for person in (1, 2)]
    link = DocumentLink(str(number).rjust(36, "0"), *documents, "", NOW, source_node=JILIN)
    return dataclasses.replace(link, **fields)


async def test_known_copies_are_left_out_and_new_ends_are_not(database_url: MakeUrl) -> None:
    """A new copy and a new end of a link are applied. A link of another node under a known id changes nothing."""
    async with open_laboratory(database_url("results")) as henan:
        apply, arrival = henan.stores.applier.apply, Arrival(HENAN, NATION, NOW + 5)
        copies = [copy_of(number) for number in range(MANY)]
        await henan.database.write(apply, copies, arrival)
        again = [
            *copies[:-2],
            copy_of(MANY - 2, unlink_time=NOW + 1, unlink_node=HENAN),
            copy_of(MANY - 1, source_node="370000"),
            copy_of(MANY),
        ]
        for _ in range(2):
            with noting_statements(henan.database.engine) as statements:
                applied = await henan.database.write(apply, again, arrival)
        assert len(statements) < 40
        assert applied.links == []
        query = select(document_links.c.link_id, document_links.c.source_node, document_links.c.unlink_time)
        rows = await henan.database.read(lambda connection: connection.execute(query.order_by("link_id")).all())
        assert [tuple(row[1:]) for row in rows] == [
            *[(JILIN, None)] * (MANY - 2),
            (JILIN, NOW + 1),
            (JILIN, None),
            (JILIN, None),
        ]
