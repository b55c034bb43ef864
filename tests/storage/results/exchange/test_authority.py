"""Authority over content at the nation: what a sender may not say is set aside, and the rest of its batch stays."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
from hutong.results.v1 import lab_pb2
from sqlalchemy import Connection, delete, insert, select, update

from services.domain.errors import AlreadyExists, PermissionDenied
from services.domain.instant import DAY
from services.domain.region import NATION
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.documents.removals import HELD_FOR, MAX_HELD
from services.results.documents.store import link_documents, unlink_documents
from services.results.documents.tables import document_links, link_end_requests
from services.results.exchange.arrival import Applied, Arrival
from services.results.exchange.downstream.nodes import add_node
from services.results.exchange.downstream.notifications.notifications import read_notifications, repeat_missed
from services.results.exchange.model import Change, Replica
from services.results.exchange.upstream.outbox import append_registers, read_page
from services.results.labs.copies import find_known
from services.results.labs.model import STANDING_UNKNOWN, Lab, StandingChange
from services.results.labs.queries import create_lab, get_lab
from services.results.records.model import ACTIVE, NEGATIVE, RECALLED, StoredResult
from services.runtime.call import Call, current_call
from services.runtime.caller import Caller
from services.storage.advisory_locks import AdvisoryLock
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, JILIN, SHANDONG, ZHENGZHOU
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
from tests.support.results.operations import register
from tests.support.results.store import Laboratory, commit_first, open_laboratory

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


@pytest.fixture
async def province(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """The store of Henan. Zhengzhou, one of its cities, has joined."""
    async with open_laboratory(database_url("results")) as opened:
        await opened.database.write(add_node, ZHENGZHOU, NOW)
        yield Laboratory(opened.database, opened.clock, source_node=HENAN, node=HENAN)


CITY_LAB = dataclasses.replace(make_lab(OTHER_USCC), region="410105")
"""A laboratory of Zhengzhou, as its code says too."""
CENTRAL_LAB = dataclasses.replace(make_lab(CENTRAL_USCC), region="410105")
"""A laboratory in Zhengzhou whose code names no city."""
KAIFENG = Caller("supervisor", "supervisors/410200", "410200")


async def receive_from_city(province: Laboratory, lab: Lab, city: str = ZHENGZHOU) -> None:
    arrival = Arrival(HENAN, city, NOW)
    await province.database.write(province.stores.applier.apply, [lab], arrival)


@pytest.mark.parametrize("lab", [CITY_LAB, CENTRAL_LAB], ids=["home by its code", "home by its registration"])
async def test_a_supervisor_takes_no_laboratory_that_another_city_has_registered(
    province: Laboratory, lab: Lab
) -> None:
    """The supervisor of one city could else read, recall and suspend results of another city at the province."""
    await receive_from_city(province, lab)
    with pytest.raises(PermissionDenied):
        await register_as(province, dataclasses.replace(lab, region="410202"), KAIFENG)
    assert (await province.database.read(get_lab, lab.uscc)).region == "410105"


async def test_a_supervisor_takes_no_laboratory_that_two_other_cities_have_registered(province: Laboratory) -> None:
    for city in (ZHENGZHOU, "410300"):
        await province.database.write(add_node, city, NOW)
        await receive_from_city(province, CENTRAL_LAB, city)
    with pytest.raises(AlreadyExists):
        await register_as(province, dataclasses.replace(CENTRAL_LAB, region="410202"), KAIFENG)
    assert (await province.database.read(get_lab, CENTRAL_USCC)).region == "410105"


async def test_a_supervisor_registers_no_laboratory_that_is_at_home_in_another_city(province: Laboratory) -> None:
    """What its own node sends later would else be set aside."""
    with pytest.raises(PermissionDenied):
        await register_as(province, dataclasses.replace(CITY_LAB, region="410202"), KAIFENG)
    await receive_from_city(province, CITY_LAB)
    assert (await province.database.read(get_lab, OTHER_USCC)).region == "410105"


@pytest.mark.parametrize(
    "caller",
    [
        Caller("supervisor", "supervisors/410000", HENAN),
        Caller("supervisor", "supervisors/410105", "410105"),
        Caller("operator", "operators/1"),
    ],
    ids=lambda caller: caller.name,
)
async def test_who_supervises_the_region_registers_a_laboratory_of_a_city_at_the_province(
    province: Laboratory, caller: Caller
) -> None:
    await receive_from_city(province, CITY_LAB)
    renamed = dataclasses.replace(CITY_LAB, display_name="第二检验所")
    assert (await register_as(province, renamed, caller)).display_name == "第二检验所"


async def register_as(store: Laboratory, lab: Lab, caller: Caller) -> Lab:
    """Register a laboratory in a call of this caller."""
    call = Call("test")
    call.caller = caller
    token = current_call.set(call)
    try:
        return await register(store, lab)
    finally:
        current_call.reset(token)


def made_link(link_id: str, maker: str = "", **fields: object) -> DocumentLink:
    """Return a link of the documents 1 and 2."""
    documents = [LinkedDocument(subject_key(person), 1, "") for person in (1, 2)]
    made = DocumentLink(link_id.ljust(36, "0"), *documents, "", NOW, source_node=maker)
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


async def ends(nation: Laboratory) -> list[tuple[object, ...]]:
    """Return when each link ended, and the node where it was removed."""
    query = select(document_links.c.unlink_time, document_links.c.unlink_node).order_by(document_links.c.link_id)
    return await nation.database.read(lambda connection: [tuple(row) for row in connection.execute(query)])


async def links_notified(nation: Laboratory, node: str) -> list[DocumentLink]:
    """Return the links of which a node is notified, in order."""
    found = await nation.database.read(read_notifications, node, 0)
    return [change for one in found for change in one.changes if isinstance(change, DocumentLink)]


async def test_a_node_ends_only_links_that_it_has_made(nation: Laboratory) -> None:
    made = made_link("1-2")
    ended = dataclasses.replace(made, unlink_time=NOW)
    await receive(nation, JILIN, made)
    assert (await receive(nation, HENAN, ended)).not_its_own == {HENAN: 1}
    # A request of a node without results of either document is set aside, whatever documents it states, and so is one
    # for an unknown link.
    await receive(nation, HENAN, make_lab(OTHER_USCC), report(HENAN, OTHER_USCC, 3))
    stated = LinkedDocument(subject_key(3), 1, "")
    request = dataclasses.replace(ended, source_node=JILIN)
    forged = dataclasses.replace(request, document=stated, linked_document=stated)
    for sent in (request, forged, made_link("other", JILIN, unlink_time=NOW)):
        assert (await receive(nation, HENAN, sent)).not_its_own == {HENAN: 1}
    assert await ends(nation) == [(None, None)]
    # The nation's own link stands beside the claim.
    own = made_link("own")
    assert (await nation.database.write(link_documents, own)).link_id == own.link_id
    await receive(nation, JILIN, ended)
    assert await ends(nation) == [(NOW, None), (None, None)]


async def test_the_node_that_made_a_link_is_asked_to_end_it(nation: Laboratory) -> None:
    """The node is asked if the asking node has results of a document. Until it has ended the link, the link holds."""
    await nation.database.write(add_node, JILIN, NOW)
    await receive(nation, JILIN, made_link("1-2"))
    await receive(nation, HENAN, make_lab(OTHER_USCC), report(HENAN, OTHER_USCC, 2))
    request = made_link("1-2", JILIN, unlink_time=NOW)
    for _ in range(2):
        assert not (await receive(nation, HENAN, request)).not_its_own.total()
    assert await ends(nation) == [(None, HENAN)]
    asked = await links_notified(nation, JILIN)
    assert [(one.source_node, one.unlink_time, one.unlink_node) for one in asked] == [(JILIN, None, HENAN)] * 2
    # Restored from an older copy, the node sends the link as active and is asked again.
    await receive(nation, JILIN, made_link("1-2"))
    assert len(await links_notified(nation, JILIN)) == 3
    await receive(nation, JILIN, made_link("1-2", unlink_time=NOW + 5, unlink_node=HENAN))
    await receive(nation, JILIN, made_link("1-2"))
    assert await ends(nation) == [(NOW + 5, HENAN)]
    assert (await links_notified(nation, JILIN))[-1].unlink_time == NOW + 5


async def test_a_request_that_comes_before_its_link_is_held(nation: Laboratory) -> None:
    """The nation was restored from a copy before the link was made. It keeps the request of a node that may ask."""
    await nation.database.write(add_node, JILIN, NOW)
    await receive(nation, HENAN, make_lab(OTHER_USCC), report(HENAN, OTHER_USCC, 2))
    request = made_link("1-2", JILIN, unlink_time=NOW)
    for _ in range(2):
        assert not (await receive(nation, HENAN, request)).not_its_own.total()
    assert await ends(nation) == []
    await receive(nation, JILIN, made_link("1-2"))
    assert await ends(nation) == [(None, HENAN)]
    asked = await links_notified(nation, JILIN)
    assert [(one.source_node, one.unlink_time, one.unlink_node) for one in asked] == [(JILIN, None, HENAN)]
    # The stated documents are not those of the link, so the request has no effect.
    stated = LinkedDocument(subject_key(2), 1, "")
    forged = made_link("3-4", JILIN, unlink_time=NOW, document=stated, linked_document=stated)
    assert not (await receive(nation, HENAN, forged)).not_its_own.total()
    others = [LinkedDocument(subject_key(person), 1, "") for person in (3, 4)]
    await receive(nation, JILIN, made_link("3-4", document=others[0], linked_document=others[1]))
    assert await ends(nation) == [(None, HENAN), (None, None)]
    # A link that arrives with its end needs no request. A request under the same id about another link is not applied.
    await receive(nation, HENAN, made_link("5", JILIN, unlink_time=NOW))
    await receive(nation, JILIN, made_link("5", unlink_time=NOW + 3))
    await receive(nation, HENAN, made_link("6", JILIN, unlink_time=NOW))
    await receive(nation, HENAN, made_link("6"))
    assert (await ends(nation))[2:] == [(NOW + 3, None), (None, None)]
    held = await nation.database.read(lambda connection: connection.execute(select(link_end_requests)).all())
    assert held == []


async def test_a_held_request_ends_a_link_of_this_node_and_goes_on_to_the_node_above(database_url: MakeUrl) -> None:
    """Henan was restored. The nation sends Henan's own link and the copy of Jilin's link back."""
    async with open_laboratory(database_url("results")) as opened:
        henan = Laboratory(opened.database, opened.clock, source_node=HENAN)
        write, apply = henan.database.write, henan.stores.applier.apply
        await write(add_node, ZHENGZHOU, NOW, HENAN)
        await henan.stores.partitions.prepare([REPORTED])
        from_city, from_above = Arrival(HENAN, ZHENGZHOU, NOW), Arrival(HENAN, NATION, NOW + 5)
        await write(apply, [make_lab(OTHER_USCC), report(ZHENGZHOU, OTHER_USCC, 2)], from_city)
        requests = [made_link(name, maker, unlink_time=NOW) for name, maker in (("own", HENAN), ("copy", JILIN))]
        await write(apply, requests, from_city)
        applied = await write(apply, [made_link("own", HENAN), made_link("copy", JILIN)], from_above)
        assert [(link.link_id[:3], link.unlink_node) for link in applied.ended_links] == [("own", ZHENGZHOU)]
        assert await ends(henan) == [(None, ZHENGZHOU), (NOW + 5, ZHENGZHOU)]
        page = await henan.database.read(read_page, {}, HENAN)
        sent = [change for commit in page.commits for change in commit.changes if isinstance(change, DocumentLink)]
        assert {(one.source_node, one.unlink_time, one.unlink_node) for one in sent} == {
            ("", NOW + 5, ZHENGZHOU),
            (JILIN, NOW + 5, ZHENGZHOU),
        }


async def test_no_more_requests_of_a_node_are_held_than_there_is_room_for(nation: Laboratory) -> None:
    """A node can make up links. Its requests take no room from other nodes, and old requests are removed."""
    await receive(nation, HENAN, make_lab(OTHER_USCC), report(HENAN, OTHER_USCC, 2))
    columns = {"source_node": JILIN, "receive_time": NOW}

    async def fill(node: str) -> None:
        rows = [{"link_id": f"L{number}", "node": node, **columns} for number in range(MAX_HELD)]
        await nation.database.write(lambda connection: connection.execute(insert(link_end_requests), rows) and None)

    await fill(JILIN)
    for number in range(2):
        request = made_link(f"1-2-{number}", JILIN, unlink_time=NOW)
        assert not (await receive(nation, HENAN, request)).not_its_own.total()
    await nation.database.write(lambda connection: connection.execute(delete(link_end_requests)) and None)
    await fill(HENAN)
    request = made_link("1-2", JILIN, unlink_time=NOW)
    assert (await receive(nation, HENAN, request)).not_its_own == {HENAN: 1}
    old = update(link_end_requests).values(receive_time=NOW - HELD_FOR - 1)
    await nation.database.write(lambda connection: connection.execute(old) and None)
    assert not (await receive(nation, HENAN, request)).not_its_own.total()


async def test_a_false_request_takes_no_place_of_a_true_one(nation: Laboratory) -> None:
    """Jilin has results of neither document, and names other documents. Henan has results of one document."""
    for node in (JILIN, SHANDONG):
        await nation.database.write(add_node, node, NOW)
    await receive(nation, JILIN, make_lab(), report(JILIN, USCC, 5))
    await receive(nation, HENAN, make_lab(OTHER_USCC), report(HENAN, OTHER_USCC, 2))
    stated = LinkedDocument(subject_key(5), 1, "")
    forged = made_link("1-2", SHANDONG, unlink_time=NOW, document=stated, linked_document=stated)
    for node, request in ((JILIN, forged), (HENAN, made_link("1-2", SHANDONG, unlink_time=NOW))):
        assert not (await receive(nation, node, request)).not_its_own.total()
    await receive(nation, SHANDONG, made_link("1-2"))
    assert await ends(nation) == [(None, HENAN)]


async def test_a_request_is_held_no_longer_than_until_its_link_is_stored(postgres_url: MakeUrl) -> None:
    """The request waits for a transaction that stores the link and has not ended."""
    async with open_laboratory(postgres_url("results")) as opened:
        await opened.database.write(add_node, HENAN, NOW)
        nation = Laboratory(opened.database, opened.clock, source_node=NATION)
        await receive(nation, HENAN, make_lab(OTHER_USCC), report(HENAN, OTHER_USCC, 2))

        def store_link(connection: Connection) -> None:
            nation.stores.applier.apply(connection, [made_link("1-2")], Arrival(NATION, JILIN, NOW))

        request = receive(nation, HENAN, made_link("1-2", JILIN, unlink_time=NOW))
        await commit_first(nation.database, store_link, request, AdvisoryLock.LINK_ENDS)
        assert await ends(nation) == [(None, HENAN)]


async def test_the_node_that_made_a_link_ends_it_and_says_so(nation: Laboratory) -> None:
    """The node is asked by the nation, and its end goes into its own log. Its copy elsewhere takes over its word."""
    maker = Laboratory(nation.database, nation.clock, source_node=JILIN)
    apply = maker.stores.applier.apply
    await nation.database.write(link_documents, made_link("1-2"))
    applied = await nation.database.write(
        apply, [made_link("1-2", JILIN, unlink_node=HENAN)], Arrival(JILIN, NATION, NOW + 9)
    )
    assert [link.unlink_node for link in applied.ended_links] == [HENAN]
    assert await ends(nation) == [(NOW + 9, HENAN)]
    page = await nation.database.read(read_page, {}, JILIN)
    sent = [change for commit in page.commits for change in commit.changes]
    assert [(one.unlink_time, one.unlink_node) for one in sent if isinstance(one, DocumentLink)] == [(NOW + 9, HENAN)]
    again = await nation.database.write(
        apply, [made_link("1-2", JILIN, unlink_node=HENAN)], Arrival(JILIN, NATION, NOW)
    )
    assert not again.ended_links


async def test_a_removal_of_another_nodes_link_is_sent_and_confirmed(nation: Laboratory) -> None:
    """Each of two links of one pair keeps its history.

    The node's own link ends, and the end of the other link is requested.
    """
    here = Laboratory(nation.database, nation.clock, source_node=HENAN)
    await nation.database.write(link_documents, made_link("own"))
    await nation.database.write(here.stores.applier.apply, [made_link("1-2", JILIN)], Arrival(HENAN, NATION, NOW))
    documents = made_link("own").document, made_link("own").linked_document
    both = await nation.database.write(unlink_documents, *documents, "two persons", NOW + 1, None, HENAN)
    assert [(one.link_id[:3], one.unlink_node) for one in both] == [("own", None), ("1-2", HENAN)]
    await nation.database.write(append_registers, NOW + 1)
    page = await nation.database.read(read_page, {}, HENAN)
    sent = [change for commit in page.commits for change in commit.changes if isinstance(change, DocumentLink)]
    assert {(one.source_node, one.unlink_time, one.unlink_node) for one in sent} == {
        ("", NOW + 1, None),
        (JILIN, NOW + 1, HENAN),
    }
    ended = made_link("1-2", JILIN, unlink_time=NOW + 7, unlink_node=HENAN)
    await nation.database.write(here.stores.applier.apply, [ended], Arrival(HENAN, NATION, NOW))
    assert set(await ends(nation)) == {(NOW + 1, None), (NOW + 7, HENAN)}


async def test_every_node_is_notified_of_every_laboratory(nation: Laboratory) -> None:
    """Nodes are notified of a new laboratory, of a new entry, and of all laboratories when a node begins."""
    await nation.database.write(add_node, JILIN, NOW)
    for _ in range(2):
        await receive(nation, JILIN, make_lab())
    await receive(nation, JILIN, make_lab(USCC, REVOKED))
    await nation.database.write(repeat_missed, SHANDONG, NOW)

    async def notified(node: str) -> list[tuple[str, str, int]]:
        found = await nation.database.read(read_notifications, node, 0)
        labs = [change for one in found for change in one.changes if isinstance(change, Lab)]
        return [(lab.uscc, lab.home, lab.standing_at(NOW)) for lab in labs]

    revoked = (USCC, JILIN, lab_pb2.LAB_STANDING_REVOKED)
    assert [await notified(node) for node in (JILIN, HENAN, SHANDONG)] == [[], [revoked] * 2, [revoked]]


async def test_the_nations_word_of_a_laboratory_counts_for_copies(nation: Laboratory) -> None:
    """If the laboratory's home is here, the nation's entries count beside this node's own.

    Otherwise they replace them.
    """
    await nation.database.write(create_lab, make_lab(), None)
    sent = make_lab(USCC, REVOKED)
    for home, standing in ((JILIN, lab_pb2.LAB_STANDING_REVOKED), (HENAN, STANDING_UNKNOWN)):
        changes = sent.changes if home == JILIN else ()
        copy = dataclasses.replace(sent, home=home, changes=changes)
        await nation.database.write(nation.stores.applier.apply, [copy], Arrival(JILIN, NATION, NOW))
        assert (await nation.database.read(find_known, [USCC]))[USCC].standing_at(NOW) == standing
    assert await nation.database.read(find_known, [OTHER_USCC]) == {}
