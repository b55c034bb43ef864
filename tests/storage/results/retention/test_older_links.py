"""While the pepper changes, purges move links to the newer key version, and remove those that nobody needs."""

from __future__ import annotations

import pytest
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest, LinkDocumentsResponse
from sqlalchemy import Connection, select

from services.domain.document import canonical_document
from services.domain.instant import DAY, Instant
from services.domain.subject import Pepper
from services.results.changelog.model import ChangeKind
from services.results.changelog.tables import changes
from services.results.documents.convert import linked_from_proto
from services.results.documents.model import DocumentLink
from services.results.documents.tables import document_links
from services.results.retention.purge import purge
from services.results.retention.tables import deletion_counts
from services.runtime.ids import uuid7
from services.storage.deletion_counts import DeletionCounts
from services.storage.idempotency import IdempotentRequest
from tests.support.results.factories import NOW, make_document, make_tube
from tests.support.results.store import Laboratory

OLD, NEW = b"o" * 32, b"n" * 32
ALONE, FIRST, SECOND = Pepper(OLD), Pepper(OLD, 1, Pepper(NEW, 2)), Pepper(NEW, 2, Pepper(OLD))
LONG_AGO, RECENTLY = NOW - 400 * DAY, NOW - DAY
HORIZON = NOW - 100 * DAY


async def link(laboratory: Laboratory, pepper: Pepper, made: Instant, *, one: int = 1, other: int = 2) -> None:
    documents = [linked_from_proto(make_document(person), pepper, "document") for person in (one, other)]
    linked = DocumentLink(uuid7(), *documents, "", made, key_version=pepper.version)
    request = IdempotentRequest(
        LinkDocumentsRequest(), LinkDocumentsResponse, lambda _: LinkDocumentsResponse(), laboratory.clock.now()
    )
    await laboratory.stores.documents.link(linked, request)


async def send(laboratory: Laboratory, pepper: Pepper, person: int) -> None:
    await laboratory.send([make_tube(person)], upload_id=f"u{person}", pepper=pepper)


async def purged(laboratory: Laboratory) -> tuple[list[int], int]:
    """Purge as a node that writes version 2. Return the versions of the links that are left, and the count of removed.

    The versions are in ascending order.
    """
    deletion = purge(laboratory.database, HORIZON, NOW, key_version=2)

    def read(connection: Connection) -> tuple[list[int], int]:
        versions = connection.execute(select(document_links.c.key_version)).scalars()
        counts = DeletionCounts(deletion_counts, deletion.deletion_id).read(connection)
        return sorted(versions), counts.get("document_links", 0)

    return await laboratory.database.read(read)


def keys(pepper: Pepper, person: int) -> list[bytes]:
    document = make_document(person)
    return pepper.subject_keys(canonical_document(document.type, document.number))


async def found(laboratory: Laboratory, pepper: Pepper, person: int) -> set[str]:
    first, other = keys(pepper, person)
    matches = await laboratory.stores.lookup.find_subjects([first], [], NOW, other_keys={first: other})
    return {result.report_number for result in matches.by_subject[0]}


async def test_a_link_whose_documents_were_seen_gets_the_newer_keys(laboratory: Laboratory) -> None:
    """The link leads to the same results as before, and the node above is sent both keys of the documents."""
    await link(laboratory, ALONE, LONG_AGO)
    await send(laboratory, ALONE, 1)
    for person in (1, 2):
        tube = make_tube(person)
        tube.persons[0].report_number = f"new{person}"
        await laboratory.send([tube], upload_id=f"new{person}", pepper=SECOND)
    everything = {"R1", "new1", "new2"}
    assert await found(laboratory, SECOND, 2) == everything
    assert await purged(laboratory) == ([2], 0)

    def read(connection: Connection) -> tuple[set[bytes], int]:
        row = connection.execute(select(document_links)).one()
        logged = select(changes.c.sequence).where(changes.c.kind == int(ChangeKind.LINKS))
        return {row.subject_key, row.linked_subject_key}, len(connection.execute(logged).all())

    stored, entries = await laboratory.database.read(read)
    assert stored == {keys(SECOND, 1)[0], keys(SECOND, 2)[0]}
    assert entries == 2
    for pepper in (FIRST, SECOND):
        for person in (1, 2):
            assert await found(laboratory, pepper, person) == everything
    assert await purged(laboratory) == ([2], 0)
    assert (await laboratory.database.read(read))[1] == 2


@pytest.mark.parametrize("made_now", [False, True])
async def test_a_link_whose_document_was_not_seen_ends_with_the_older_version(
    laboratory: Laboratory, *, made_now: bool
) -> None:
    """The link ends only once it is a whole retention period old."""
    await link(laboratory, ALONE, RECENTLY if made_now else LONG_AGO)
    await send(laboratory, SECOND, 1)
    assert await purged(laboratory) == (([1], 0) if made_now else ([], 1))


async def test_a_link_that_leads_to_kept_results_stays(laboratory: Laboratory) -> None:
    """A link that a process of the newer version made has its keys already."""
    await link(laboratory, ALONE, LONG_AGO)
    await send(laboratory, ALONE, 1)
    await send(laboratory, ALONE, 2)
    await link(laboratory, SECOND, LONG_AGO, one=3, other=4)
    assert await purged(laboratory) == ([1, 2], 0)
    assert await found(laboratory, FIRST, 2) == {"R1", "R2"}
