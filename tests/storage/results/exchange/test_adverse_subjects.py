"""Adverse subjects at the nation: each node with results of such a subject receives it, whichever came first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeGuard

import pytest
from sqlalchemy import Connection, select

from services.domain.instant import DAY, HOUR, Instant
from services.domain.names import DEFAULT_ITEM
from services.domain.region import NATION
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.documents.store import find_linked
from services.results.documents.tables import key_pairs
from services.results.exchange.apply import Arrival
from services.results.exchange.downstream.nodes import add_node
from services.results.exchange.downstream.notifications.notifications import read_notifications, repeat_missed
from services.results.exchange.downstream.notifications.subscriptions import read_subscribed, subscribe_node
from services.results.exchange.model import AdverseSubject, Change, Replica
from services.results.exchange.subscribers import add_subscriptions, find_subscribers
from services.results.exchange.tables import notifications, subscriptions
from services.results.records.model import ACTIVE, RECALLED, StoredResult
from services.results.records.partitions import month_of, month_start
from services.results.retention.purge import purge
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, JILIN, SHANDONG
from tests.support.results.factories import (
    LABS,
    NEGATIVE,
    NOW,
    OTHER_USCC,
    POOL_POSITIVE,
    POSITIVE,
    REPORTED,
    USCC,
    make_tube,
    subject_key,
)
from tests.support.results.store import Laboratory, commit_first, open_laboratory
from tests.support.work import noting_statements

if TYPE_CHECKING:
    from services.results.records.model import Outcome, State

NODES = (JILIN, HENAN, SHANDONG)


@pytest.fixture
async def nation(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """The nation's store, which knows three nodes."""
    async with open_nation(database_url("results")) as opened:
        yield opened


@pytest.fixture
async def sqlite_nation(sqlite_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """The same on SQLite, where every statement can be counted."""
    async with open_nation(sqlite_url("results")) as opened:
        yield opened


@pytest.fixture
async def postgresql(postgres_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """The same on PostgreSQL: only a server has concurrent write transactions."""
    async with open_nation(postgres_url("results")) as opened:
        yield opened


@contextlib.asynccontextmanager
async def open_nation(url: str) -> AsyncIterator[Laboratory]:
    async with open_laboratory(url) as opened:
        for node in NODES:
            await opened.database.write(add_node, node, NOW)
        yield Laboratory(opened.database, opened.clock, source_node=NATION)


def report(
    source: str,
    person: int = 0,
    outcome: Outcome = NEGATIVE,
    *,
    number: str = "",
    lab: str = "",
    revision: int = 1,
    state: State = ACTIVE,
    reported: Instant = REPORTED,
    item: str = DEFAULT_ITEM,
) -> Replica:
    """Return a report of a node's laboratory, with one report number for each node and person unless one is given."""
    sampled = reported - 4 * HOUR
    result = StoredResult(
        *(
            subject_key(person),
            reported,
            lab or LABS.get(source, USCC),
            number or f"{source}-{person}",
            revision,
            state,
            "",
            "",
            "T",
            1,
            2,
            1,
        ),
        *(outcome, source, "", sampled, sampled, reported, reported, item, NOW + revision, None, source),
    )
    return Replica(result, 1, f"{source}{person}{outcome}".encode().ljust(16), b"")


def link(one: int, other: int) -> DocumentLink:
    documents = (LinkedDocument(subject_key(person), 1, "") for person in (one, other))
    return DocumentLink(f"{one}-{other}".ljust(36, "0"), *documents, "", NOW)


async def receive(nation: Laboratory, source: str, *changes: Change) -> None:
    """Apply a batch that a node sends."""
    await nation.stores.partitions.prepare([change.result.reference_time for change in changes if is_replica(change)])
    await nation.database.write(nation.stores.applier.apply, changes, Arrival(NATION, source, NOW))


def is_replica(change: Change) -> TypeGuard[Replica]:
    return isinstance(change, Replica)


async def told(nation: Laboratory, node: str) -> list[bytes | str]:
    """Return in order the subjects that a node has to subscribe to, and the reports that it is sent."""
    found: list[bytes | str] = []
    for notification in await nation.database.read(read_notifications, node, 0):
        for change in notification.changes:
            if isinstance(change, AdverseSubject):
                found.append(change.subject_key)
            elif isinstance(change, Replica):
                found.append(f"{change.result.report_number}@{change.result.revision}")
    return found


@pytest.mark.parametrize("outcome", [POSITIVE, POOL_POSITIVE])
async def test_whichever_comes_first_both_nodes_are_told_once(nation: Laboratory, outcome: Outcome) -> None:
    """Person 0 is positive first, person 1 is negative first, person 2 has both in the same batch of two nodes."""
    await receive(nation, JILIN, report(JILIN, 0, outcome), report(JILIN, 2))
    await receive(nation, HENAN, report(HENAN, 0), report(HENAN, 1))
    await receive(nation, JILIN, report(JILIN, 1, outcome))
    await receive(nation, HENAN, report(HENAN, 2, outcome))
    assert sorted(key for key in await told(nation, HENAN) if isinstance(key, bytes)) == sorted(
        map(subject_key, range(3))
    )
    assert set(await told(nation, JILIN)) >= {subject_key(1), subject_key(2)}
    assert await told(nation, SHANDONG) == []
    before = await told(nation, HENAN), await told(nation, JILIN)
    await receive(nation, JILIN, report(JILIN, 0, outcome), report(JILIN, 2))
    await receive(nation, HENAN, report(HENAN, 0), report(HENAN, 1), report(HENAN, 2, outcome))
    assert (await told(nation, HENAN), await told(nation, JILIN)) == before


async def test_an_antigen_positive_is_made_known(nation: Laboratory) -> None:
    await receive(nation, HENAN, report(HENAN))
    await receive(nation, JILIN, report(JILIN, outcome=POSITIVE, item="sars-cov-2-antigen"))
    assert await told(nation, HENAN) == [subject_key(0)]


async def test_a_positive_of_another_item_is_made_known_to_no_node(nation: Laboratory) -> None:
    """Whichever comes first. A hepatitis result is no concern of the other node."""
    await receive(nation, JILIN, report(JILIN, 0, POSITIVE, item="hepatitis-b"))
    await receive(nation, HENAN, report(HENAN, 0), report(HENAN, 1))
    await receive(nation, JILIN, report(JILIN, 1, POSITIVE, item="hepatitis-b"))
    assert [await told(nation, node) for node in NODES] == [[], [], []]


async def test_results_of_other_items_do_not_follow_a_subject(nation: Laboratory) -> None:
    """Such results come neither as changes nor at the subscription.

    A report that was announced once is corrected further.
    """
    hepatitis = "hepatitis-b"
    await receive(nation, JILIN, report(JILIN, outcome=POSITIVE), report(JILIN, number="old", item=hepatitis))
    await receive(nation, HENAN, report(HENAN), report(HENAN, number="own", item=hepatitis))
    await receive(nation, JILIN, report(JILIN, number="new", item=hepatitis), report(JILIN, number="wrong"))
    await receive(nation, JILIN, report(JILIN, number="new", item=hepatitis, revision=2, state=RECALLED))
    await receive(nation, JILIN, report(JILIN, number="wrong", item=hepatitis, revision=2))
    assert (await told(nation, HENAN))[1:] == ["wrong@1", "wrong@2"]
    (subject,) = await nation.database.read(read_subscribed, HENAN, [[subject_key(0)]])
    assert sorted(replica.result.report_number for replica in subject.replicas) == [
        f"{JILIN}-0", f"{HENAN}-0", "own", "wrong",
    ]  # fmt: skip


async def test_corrections_recalls_and_later_results_follow(nation: Laboratory) -> None:
    """A correction to positive makes a subject adverse. A third node joins when it first has a result."""
    await receive(nation, JILIN, report(JILIN))
    await receive(nation, HENAN, report(HENAN))
    assert await told(nation, HENAN) == []
    await receive(nation, JILIN, report(JILIN, outcome=POSITIVE, revision=2))
    assert await told(nation, HENAN) == [subject_key(0)]
    await receive(nation, JILIN, report(JILIN, outcome=POSITIVE, revision=3, state=RECALLED))
    await receive(nation, SHANDONG, report(SHANDONG))
    first = f"{JILIN}-0@3"
    assert await told(nation, HENAN) == [subject_key(0), first, f"{SHANDONG}-0@1"]
    assert await told(nation, SHANDONG) == [subject_key(0)]


async def test_a_node_that_has_everything_is_told_nothing(nation: Laboratory) -> None:
    """Further results of the subject from this node cost no query for nodes, because the nation has subscribed it."""
    await receive(nation, JILIN, report(JILIN, outcome=POSITIVE))
    assert await told(nation, JILIN) == []
    with noting_statements(nation.database.engine) as run:
        await receive(nation, JILIN, report(JILIN, number="second"))
    assert not any("source_node FROM results" in " ".join(each.split()) for each in run)
    await receive(nation, HENAN, report(HENAN))
    assert await told(nation, JILIN) == [f"{HENAN}-0@1"]


async def test_results_of_the_nation_itself_count(nation: Laboratory) -> None:
    await receive(nation, HENAN, report(HENAN, 0), report(HENAN, 1))
    await nation.send([make_tube(0, outcome=POSITIVE)])
    assert await told(nation, HENAN) == [subject_key(0)]
    await receive(nation, HENAN, report(HENAN, 1, POSITIVE, number="positive"))
    await nation.send([make_tube(1)], upload_id="v")
    assert await told(nation, HENAN) == [subject_key(0), "R1@1"]


async def test_results_by_a_linked_document_count(nation: Laboratory) -> None:
    """The nation's link comes before the results of persons 0 and 1, and after those of persons 2 and 3."""
    await receive(nation, NATION, link(0, 1))
    await receive(nation, JILIN, report(JILIN, 0, POSITIVE), report(JILIN, 2, POSITIVE))
    await receive(nation, HENAN, report(HENAN, 1), report(HENAN, 3))
    assert await told(nation, HENAN) == [subject_key(1)]
    assert await told(nation, JILIN) == [subject_key(0), f"{HENAN}-1@1"]
    await receive(nation, NATION, link(2, 3))
    assert await told(nation, HENAN) == [subject_key(1), subject_key(3)]
    assert (await told(nation, JILIN))[2:] == [subject_key(2)]
    await receive(nation, JILIN, report(JILIN, 2, NEGATIVE, number="later"))
    assert (await told(nation, HENAN))[2:] == ["later@1"]


async def test_a_batch_costs_a_query_for_nodes_only_if_it_must(sqlite_nation: Laboratory) -> None:
    """Without an adverse result it costs what it costs without marks; with any number of them one query more."""
    nation = sqlite_nation
    await nation.database.write(add_subscriptions, HENAN, [subject_key(99)], NOW)

    async def cost(source: str, *changes: Change) -> int:
        with noting_statements(nation.database.engine) as run:
            await receive(nation, source, *changes)
        return len(run)

    await cost(JILIN, report(JILIN, 90))
    plain = await cost(JILIN, *(report(JILIN, person) for person in range(30, 60)))
    first = await cost(JILIN, *(report(JILIN, person, POSITIVE) for person in range(30)))
    again = [report(JILIN, person, POSITIVE, number=f"again{person}") for person in range(30)]
    marked = await cost(JILIN, *again)
    new_node = await cost(HENAN, *(report(HENAN, person) for person in range(30)))
    # Subjects that were marked before cost the look-up under the lock. New ones also cost pairs of key versions, links,
    # their nodes, the nodes below and the marks.
    assert (first - plain, marked - plain) == (5, 1)
    # Pairs, links, their nodes, the nodes below, the subscriptions, and a notification to Henan with its number; two
    # more for Jilin.
    assert new_node - plain == 9


async def test_a_node_that_begins_again_is_told_again_of_what_it_missed(nation: Laboratory) -> None:
    """While all its notifications are kept, the node is told nothing again, because it has missed none."""
    await receive(nation, JILIN, report(JILIN, 0, POSITIVE), report(JILIN, 1, POSITIVE), report(JILIN, 2))
    await receive(nation, HENAN, report(HENAN, 0), report(HENAN, 2))
    await nation.database.write(subscribe_node, HENAN, [subject_key(2)], NOW)
    await nation.database.write(repeat_missed, HENAN, NOW)
    await nation.database.write(repeat_missed, SHANDONG, NOW)
    assert await told(nation, HENAN) == [subject_key(0)]
    assert await told(nation, SHANDONG) == []
    await nation.database.write(lambda connection: connection.execute(notifications.delete()))
    await nation.database.write(repeat_missed, HENAN, NOW)
    assert await told(nation, HENAN) == [subject_key(0)]


async def test_marks_end_with_the_results(nation: Laboratory) -> None:
    horizon = month_start(month_of(NOW))
    for person, reported in enumerate((horizon - HOUR, horizon + HOUR)):
        await receive(nation, JILIN, report(JILIN, person, POSITIVE, reported=reported))
    keys = [subject_key(0), subject_key(1)]
    # The marks are as old as the results.
    await nation.database.write(lambda connection: connection.execute(subscriptions.update().values(subscribe_time=1)))
    await asyncio.to_thread(purge, nation.database, horizon, NOW + DAY)
    found = await nation.database.read(find_subscribers, keys)
    assert {key: sorted(nodes) for key, nodes in found.items()} == {keys[1]: [NATION, JILIN]}


@pytest.mark.parametrize("positive_first", [True, False])
async def test_two_commits_at_the_same_time_do_not_miss_each_other(
    postgresql: Laboratory, positive_first: bool
) -> None:
    """One commit has a positive, the other a node's first result. The first has stored its part when the second begins.

    The commits are of two laboratories, because commits of one laboratory wait for each other at its delays.
    """
    nation = postgresql
    await receive(nation, SHANDONG, report(SHANDONG, 9, POSITIVE))
    both = [(JILIN, report(JILIN, outcome=POSITIVE)), (HENAN, report(HENAN, lab=OTHER_USCC))]
    (one, first), (other, second) = both if positive_first else reversed(both)

    def commit(connection: Connection) -> None:
        nation.stores.applier.apply(connection, [first], Arrival(NATION, one, NOW))

    await commit_first(nation.database, commit, receive(nation, other, second))
    assert subject_key(0) in await told(nation, HENAN)
    assert subject_key(0) in await told(nation, JILIN) or f"{HENAN}-0@1" in await told(nation, JILIN)


NEWER = 100
"""The key of person p under the newer key version is subject_key(NEWER + p)."""


def newer(source: str, person: int, outcome: Outcome = NEGATIVE) -> Replica:
    """Return an upload under the newer version of the pepper, which states the older key."""
    uploaded = report(source, NEWER + person, outcome)
    return uploaded._replace(key_version=2, other_key=subject_key(person))


async def pairs(nation: Laboratory) -> int:
    """Return how many keys are stored with their other keys."""

    def count(connection: Connection) -> int:
        return len(connection.execute(select(key_pairs)).all())

    return await nation.database.read(count)


@pytest.mark.parametrize("positive_first", [True, False])
async def test_while_the_key_rotates_a_subject_is_named_by_both_keys(
    nation: Laboratory, *, positive_first: bool
) -> None:
    """Jilin has a negative under one version, Henan a positive under the other."""
    if positive_first:
        await receive(nation, HENAN, report(HENAN, 0, POSITIVE))
        await receive(nation, JILIN, newer(JILIN, 0))
    else:
        await receive(nation, JILIN, report(JILIN, 0))
        await receive(nation, HENAN, newer(HENAN, 0, POSITIVE))
    assert set(await told(nation, JILIN)) >= {subject_key(0), subject_key(NEWER)}
    assert await pairs(nation) == 0


async def test_a_later_correction_reaches_a_node_that_knows_the_subject_by_the_other_key(nation: Laboratory) -> None:
    """A correction states no other key, and the nation stores no pairs of subjects without links."""
    await receive(nation, JILIN, report(JILIN, 0))
    await receive(nation, HENAN, newer(HENAN, 0))
    corrected = report(HENAN, NEWER, POSITIVE, revision=2)
    await receive(nation, HENAN, corrected)
    assert f"{corrected.result.report_number}@2" in await told(nation, JILIN)
    await receive(nation, JILIN, report(JILIN, 0, POSITIVE, revision=2))
    assert f"{JILIN}-0@2" in await told(nation, HENAN)
    assert await told(nation, SHANDONG) == []
    assert await pairs(nation) == 0


async def test_an_upload_elsewhere_joins_the_links_of_a_document_under_its_older_key(nation: Laboratory) -> None:
    """The link was made in Jilin before the change, and Shandong has never heard of it."""
    await receive(nation, JILIN, report(JILIN, 0), report(JILIN, 1), link(0, 1))
    await nation.database.write(subscribe_node, HENAN, [subject_key(0)], NOW)
    await receive(nation, SHANDONG, newer(SHANDONG, 1), newer(SHANDONG, 2))
    linked = await nation.database.read(find_linked, [subject_key(0)])
    assert set(linked[subject_key(0)]) == {subject_key(person) for person in (0, 1, NEWER + 1)}
    assert await pairs(nation) == 2
    notified = await nation.database.read(read_notifications, HENAN, 0)
    (copy,) = [change for one in notified for change in one.changes if is_replica(change)]
    assert (copy.result.subject_key, copy.other_key) == (subject_key(NEWER + 1), subject_key(1))
