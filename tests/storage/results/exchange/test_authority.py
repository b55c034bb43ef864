"""Authority over content at the nation: what a sender may not say is set aside, and the rest of its batch stays."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
from hutong.results.v1 import lab_pb2
from sqlalchemy import select

from services.domain.instant import DAY
from services.domain.region import NATION
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.documents.store import link_documents
from services.results.documents.tables import document_links
from services.results.exchange.arrival import Applied, Arrival
from services.results.exchange.downstream.nodes import add_node
from services.results.exchange.model import Change, Replica
from services.results.labs.model import STANDING_UNKNOWN, StandingChange
from services.results.labs.queries import get_lab
from services.results.records.model import ACTIVE, NEGATIVE, RECALLED, StoredResult
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, JILIN
from tests.support.results.factories import (
    CENTRAL_USCC,
    NOW,
    OTHER_USCC,
    POSITIVE,
    REPORTED,
    USCC,
    make_lab,
    subject_key,
)
from tests.support.results.store import Laboratory, open_laboratory

REVOKED = StandingChange(lab_pb2.LAB_STANDING_REVOKED, NOW - 700 * DAY, "forged", NOW)
AUTHORIZED = lab_pb2.LAB_STANDING_AUTHORIZED


@pytest.fixture
async def nation(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """The nation's store. Henan has joined."""
    async with open_laboratory(database_url("results")) as opened:
        await opened.database.write(add_node, HENAN, NOW)
        yield Laboratory(opened.database, opened.clock, source_node=NATION)


def report(node: str, uscc: str, person: int, number: str = "R1", **fields: object) -> Replica:
    """Return an active negative report that a node sends, with some fields replaced."""
    result = StoredResult(
        *(subject_key(person), REPORTED, uscc, number, 1, ACTIVE, "", "", "T", 1, 2, 1, NEGATIVE, "220502", ""),
        *(REPORTED, None, None, REPORTED, "", NOW, None, node),
    )
    return Replica(result._replace(**fields), 1, f"{node}{person}".encode().ljust(16), b"")  # type: ignore[arg-type]


async def receive(nation: Laboratory, sender: str, *changes: Change) -> Applied:
    """Apply a batch that a node sends."""
    await nation.stores.partitions.prepare([REPORTED])
    return await nation.database.write(nation.stores.applier.apply, changes, Arrival(NATION, sender, NOW))


async def reports(nation: Laboratory) -> list[tuple[object, ...]]:
    return await nation.rows("lab", "report_number", "subject_key", "source_node")


async def test_foreign_changes_are_set_aside_and_harm_nothing_beside_them(nation: Laboratory) -> None:
    await nation.database.write(add_node, JILIN, NOW)
    await receive(nation, JILIN, make_lab(), report(JILIN, USCC, 1))
    recalled = report(HENAN, USCC, 1, revision=2, state=RECALLED, outcome=POSITIVE)
    applied = await receive(
        nation,
        HENAN,
        make_lab(USCC, REVOKED),
        report(HENAN, USCC, 2, "R2"),
        report(HENAN, OTHER_USCC, 3),
        recalled,
        make_lab(OTHER_USCC),
    )
    assert applied.not_its_own == {HENAN: 3}
    assert set(await reports(nation)) == {
        (OTHER_USCC, "R1", subject_key(3), HENAN),
        (USCC, "R1", subject_key(1), JILIN),
    }
    for uscc in (USCC, OTHER_USCC):
        assert (await nation.database.read(get_lab, uscc)).standing_at(NOW) == AUTHORIZED


async def test_a_node_that_joins_gets_its_laboratories_back(nation: Laboratory) -> None:
    """Before, their home was unknown. Standings, the name and the numbers that were taken ahead are its own again."""
    forged = dataclasses.replace(make_lab(USCC, REVOKED), display_name="冒名检验所")
    taken = [report(HENAN, USCC, 2), report(HENAN, USCC, 2, revision=2, outcome=POSITIVE, upload_time=NOW + 1)]
    await receive(nation, HENAN, forged, *taken)
    assert (await nation.database.read(get_lab, USCC)).standing_at(NOW) == lab_pb2.LAB_STANDING_REVOKED
    await nation.database.write(add_node, JILIN, NOW)
    assert (await nation.database.read(get_lab, USCC)).standing_at(NOW) == STANDING_UNKNOWN
    true = [report(JILIN, USCC, 1), report(JILIN, USCC, 1, revision=2, outcome=POSITIVE, upload_time=NOW + 1)]
    applied = await receive(nation, JILIN, make_lab(), *true)
    assert (applied.not_its_own[HENAN], applied.conflict_count) == (1, 0)
    lab = await nation.database.read(get_lab, USCC)
    assert (lab.standing_at(NOW), lab.display_name) == (AUTHORIZED, make_lab().display_name)
    assert await reports(nation) == [(USCC, "R1", subject_key(1), JILIN)] * 2


async def test_of_two_registrations_without_a_known_home_neither_counts(nation: Laboratory) -> None:
    assert (await receive(nation, HENAN, make_lab(CENTRAL_USCC))).second_registration_count == 0
    second = [await receive(nation, JILIN, make_lab(CENTRAL_USCC, REVOKED)) for _ in range(2)]
    assert [applied.second_registration_count for applied in second] == [1, 0]
    assert (await nation.database.read(get_lab, CENTRAL_USCC)).standing_at(NOW) == STANDING_UNKNOWN


async def test_a_node_ends_only_links_that_it_has_made(nation: Laboratory) -> None:
    documents = [LinkedDocument(subject_key(person), 1, "") for person in (1, 2)]
    made = DocumentLink("1-2".ljust(36, "0"), *documents, "", NOW)
    ended = dataclasses.replace(made, unlink_time=NOW)
    await receive(nation, JILIN, made)
    assert (await receive(nation, HENAN, ended)).not_its_own == {HENAN: 1}
    assert (await receive(nation, HENAN, dataclasses.replace(ended, source_node=JILIN))).not_its_own == {HENAN: 1}
    query = select(document_links.c.unlink_time)
    assert await nation.database.read(lambda connection: list(connection.execute(query).scalars())) == [None]
    # The nation's own link stands beside the claim.
    own = dataclasses.replace(made, link_id="own".ljust(36, "0"))
    assert (await nation.database.write(link_documents, own)).link_id == own.link_id
    await receive(nation, JILIN, ended)
    assert await nation.database.read(lambda connection: list(connection.execute(query).scalars())) != [None, None]
