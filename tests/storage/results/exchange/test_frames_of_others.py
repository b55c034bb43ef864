"""No frames of one node change what the nation has of the reports of another node, which is neither above nor below."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest
from sqlalchemy import update

from services.domain.instant import DAY, HOUR, SECOND
from services.domain.region import NATION
from services.results.exchange.apply import Arrival
from services.results.exchange.downstream.notifications.subscriptions import read_subscribed
from services.results.exchange.model import Replica
from services.results.records.model import ACTIVE, RECALLED, SUPERSEDED
from services.results.records.tables import results
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, JILIN
from tests.support.results.factories import NEGATIVE, NOW, PENDING, POSITIVE, make_tube, subject_key
from tests.support.results.store import Laboratory, open_laboratory


@pytest.fixture
async def above(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """The store of a node above, with reports of Jilin: a negative, a positive and a sampling record."""
    async with open_laboratory(database_url("results")) as opened:
        await opened.send([make_tube(0), make_tube(1, outcome=POSITIVE), make_tube(2, outcome=PENDING)])
        yield opened


def altered(random: Random, replica: Replica, sender: str) -> Replica:
    """Return the report as another node may state it, by a mistake or on purpose."""
    old = replica.result
    outcome = random.choice((NEGATIVE, POSITIVE, old.outcome))
    moved = old.sample_time + random.choice((0, HOUR, -HOUR, DAY))
    result = old._replace(
        revision=random.randint(1, 4),
        state=random.choice((ACTIVE, RECALLED, SUPERSEDED)),
        outcome=outcome,
        sample_time=moved,
        report_time=moved + 2 * HOUR,
        reference_time=moved + 2 * HOUR,
        subject_key=random.choice((old.subject_key, subject_key(7))),
        upload_time=NOW + random.choice((-1, 1, 2)) * SECOND,
        source_node=sender,
    )
    return replica._replace(result=result, content_hash=random.randbytes(16))


@pytest.mark.parametrize(
    ("node", "sender", "source"),
    [(NATION, HENAN, HENAN), (NATION, HENAN, "410100"), (HENAN, "410100", "410100"), (HENAN, NATION, "370000")],
)
async def test_frames_of_another_node_change_no_report(above: Laboratory, node: str, sender: str, source: str) -> None:
    """Whatever revision, state, times, outcome or person it states, of itself or of a node below it.

    The nation may replace copies at Henan, so the reports at Henan are made those of a city there.
    """
    if (node, sender) == (HENAN, NATION):
        await above.database.write(lambda connection: connection.execute(update(results).values(source_node="410100")))
    known = [
        replica
        for _, changes in await above.database.read(
            read_subscribed, JILIN, [[subject_key(person)] for person in range(3)]
        )
        for replica in changes
        if isinstance(replica, Replica)
    ]
    columns = ("report_number", "revision", "state", "outcome", "subject_key", "report_time", "source_node")
    before = await above.rows(*columns)
    for seed in range(25):
        random = Random(seed)
        frames = [altered(random, random.choice(known), source) for _ in range(random.randint(1, 3))]
        await above.database.write(above.stores.applier.apply, frames, Arrival(node, sender, NOW + seed))
        assert await above.rows(*columns) == before, frames
