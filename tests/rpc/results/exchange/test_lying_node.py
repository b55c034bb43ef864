"""No frames of a node change a decision that rests on another node's records alone (docs/architecture.md).

Henan's node lies: it replicates what it likes over a real connection. Jilin's node is honest.
"""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from hutong.exchange.v1.exchange_service_pb2 import ReplicateBatch, ReplicateRequest, ReplicateStart
from hutong.exchange.v1.node_pb2 import SET_ASIDE_REASON_NOT_ITS_OWN
from hutong.exchange.v1.replica_pb2 import ReplicatedChange
from hutong.results.v1 import lab_pb2
from hutong.results.v1.lab_service_pb2 import GetLabRequest
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest
from hutong.results.v1.results_service_pb2 import LookupLatestRequest

from services.domain.instant import DAY, HOUR, MINUTE, Instant, to_timestamp
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.exchange.convert.changes import fill_change
from services.results.exchange.model import Change, Replica
from services.results.labs.model import Lab, StandingChange
from services.results.missing_reports.model import NOT_OURS, LabAnswer, MissingReport
from services.results.missing_reports.tables import missing_reports
from services.results.records.model import ACTIVE, RECALLED, StoredResult
from services.runtime.clock import SystemClock
from services.storage.pepper_marks import pepper_mark
from tests.support.results.country import HENAN, JILIN, Country, Member
from tests.support.results.factories import (
    LAB_NAME,
    NEGATIVE,
    OTHER_USCC,
    PEPPER,
    POSITIVE,
    USCC,
    make_document,
    make_tube,
    subject_key,
)
from tests.support.waiting import TIMEOUT_SECONDS, until

PERSONS = range(6)
"""Persons whom only Jilin tests. Their reports have the numbers R0 to R5, and later R100 to R105."""
LIES = int(os.environ.get("LYING_CHANGES", "40"))
"""Changes that each of the two series of lies sends: a soak sends more."""
STREAM_BATCHES = 10
"""The most batches in one stream of lies."""
NUMBERS = [f"R{person}" for person in (*PERSONS, *(100 + person for person in PERSONS))]


def forged_result(rng: random.Random, now: Instant) -> Replica:
    """Return a report under any number, first or later revision, active or recalled, of either laboratory."""
    reported = now - rng.randrange(1, 30) * HOUR
    lab = rng.choice([USCC, USCC, USCC, OTHER_USCC])
    # The liar may say of its own laboratory what it likes, but of a person whom only Jilin tests it says nothing then.
    person = rng.choice(PERSONS) if lab == USCC else 50 + rng.randrange(3)
    result = StoredResult(
        *(subject_key(person), reported, lab, rng.choice(NUMBERS), rng.choice([1, 1, 2, 9])),
        *(rng.choice([ACTIVE, ACTIVE, RECALLED]), "", "", "T", 1, 2, 1, rng.choice([NEGATIVE, POSITIVE]), "220502", ""),
        *(reported - HOUR, None, None, reported, "", now - rng.randrange(60) * MINUTE, None, HENAN),
    )
    return Replica(result, PEPPER.version, rng.randbytes(16), b"")


def forged_lab(rng: random.Random, now: Instant) -> Lab:
    """Return Jilin's laboratory under another name, revoked for ever or in any other standing."""
    standings = [lab_pb2.LAB_STANDING_REVOKED, lab_pb2.LAB_STANDING_SUSPENDED, lab_pb2.LAB_STANDING_AUTHORIZED]
    changes = [
        StandingChange(rng.choice(standings), rng.choice([None, now - 700 * DAY, now - HOUR]), "forged", now - number)
        for number in range(rng.randrange(1, 4))
    ]
    return Lab(USCC, "冒名检验所", "410105", "", None, now - DAY, tuple(changes))


def forged_link(rng: random.Random, now: Instant) -> DocumentLink:
    """Return a link of a person whom Jilin tests with another one, whoever tested that."""
    documents = [LinkedDocument(subject_key(person), 1, "") for person in rng.sample([*PERSONS, 50, 51, 52], 2)]
    return DocumentLink(str(uuid.UUID(int=rng.getrandbits(128), version=4)), *documents, "", now)


def lies(rng: random.Random, count: int) -> Iterator[Change]:
    """Yield changes that are not the liar's to make, among a few that are."""
    now = SystemClock().now()
    for _ in range(count):
        kind = rng.choice(["result", "result", "result", "lab", "link", "missing", "answer"])
        if kind == "result":
            yield forged_result(rng, now)
        elif kind == "lab":
            yield forged_lab(rng, now)
        elif kind == "link":
            yield forged_link(rng, now)
        else:
            answer = LabAnswer(NOT_OURS, now + rng.randrange(-5, 5) * DAY) if kind == "answer" else None
            yield MissingReport(USCC, rng.choice([*NUMBERS, "R200"]), now, HENAN, answer=answer)


class Liar:
    """A node that replicates any changes, in any order, each in a commit of its own."""

    def __init__(self, nation: Member, rng: random.Random) -> None:
        self._nation = nation
        self._rng = rng
        self._log_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        self._sent = 0

    async def send(self, *changes: Change) -> None:
        """Send changes in batches of random sizes. The nation must answer every frame.

        A soak sends so many changes that one stream would outlive its connection.
        """
        rest = list(changes)
        while rest:
            frames = [self._start()]
            while rest and len(frames) <= STREAM_BATCHES:
                size = self._rng.randrange(1, 6)
                frames.append(self._batch(rest[:size]))
                rest = rest[size:]
            answers = [answer async for answer in self._nation.exchange.Replicate(_each(frames), timeout=3600)]
            assert len(answers) == len(frames)

    def _start(self) -> ReplicateRequest:
        return ReplicateRequest(
            start=ReplicateStart(
                node=f"nodes/{HENAN}",
                log_id=self._log_id,
                key_version=PEPPER.version,
                pepper_mark=pepper_mark(PEPPER),
                send_time=to_timestamp(SystemClock().now()),
            )
        )

    def _batch(self, changes: list[Change]) -> ReplicateRequest:
        messages = []
        for change in changes:
            message = ReplicatedChange()
            fill_change(message, change)
            messages.append(message)
        batch = ReplicateBatch(writer=1, offset=self._sent, next_offset=self._sent + 1, changes=messages)
        self._sent += 1
        return ReplicateRequest(batch=batch)


async def _each(frames: list[ReplicateRequest]) -> AsyncIterator[ReplicateRequest]:
    for frame in frames:
        yield frame


async def weighed(member: Member) -> list[list[tuple[object, ...]]]:
    """Return for each person what a decision at this node weighs of the person's results."""
    found = []
    for person in PERSONS:
        answer = await member.node.results.LookupLatest(
            LookupLatestRequest(document=make_document(person)), timeout=TIMEOUT_SECONDS
        )
        found.append(
            sorted(
                (
                    *(one.lab, one.report_number, one.revision, one.state, one.outcome, one.report_time.seconds),
                    *(one.lab_standing, one.source_node),
                )
                for one in (*answer.in_region, *answer.out_of_region)
            )
        )
    return found


async def registered(member: Member) -> tuple[str, str, int]:
    lab = (await member.node.labs.GetLab(GetLabRequest(name=LAB_NAME))).lab
    return lab.display_name, lab.region, lab.standing


async def has_joined(nation: Member, region: str) -> bool:
    return f"nodes/{region}" in [node.name for node in await nation.nodes()]


async def same(nation: Member, jilin: Member) -> bool:
    """Return whether the nation weighs exactly what Jilin itself does."""
    return await weighed(nation) == await weighed(jilin) and await registered(nation) == await registered(jilin)


@pytest.mark.parametrize("seed", range(3))
async def test_no_frames_of_a_node_change_what_rests_on_records_of_another(country: Country, seed: int) -> None:
    rng = random.Random(seed)
    liar = Liar(country.nation, rng)
    if seed:
        # The home of the laboratory has not joined: the liar takes numbers ahead, and registers the laboratory.
        await liar.send(forged_lab(rng, SystemClock().now()))
        taken = [forged_result(rng, SystemClock().now()) for _ in range(20)]
        await liar.send(*(one for one in taken if one.result.report_number in NUMBERS[: len(PERSONS)]))
    jilin = await country.join(JILIN)
    await jilin.node.register()
    now = SystemClock().now()
    await jilin.node.upload([make_tube(person, reported=now - 20 * HOUR) for person in PERSONS])
    await until(lambda: has_joined(country.nation, JILIN) if seed else same(country.nation, jilin))
    await liar.send(*lies(rng, LIES))
    tubes = [make_tube(person, reported=now - HOUR) for person in PERSONS]
    for person, tube in enumerate(tubes):
        tube.persons[0].report_number = f"R{100 + person}"
    await jilin.node.upload(tubes, "later")
    await jilin.node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R1", outcome=POSITIVE, reason="mixed up")
    )
    before = await weighed(jilin)
    await until(lambda: same(country.nation, jilin))
    await liar.send(*lies(rng, LIES))
    assert await weighed(jilin) == before
    assert await same(country.nation, jilin)
    assert country.nation.results(of=JILIN) == jilin.results(of=JILIN)
    assert set(country.nation.rows(missing_reports, "answer")) <= {(None,)}
    (node,) = [node for node in await country.nation.nodes() if node.name == f"nodes/{HENAN}"]
    assert [one.reason for one in node.set_aside] == [SET_ASIDE_REASON_NOT_ITS_OWN]
    assert node.set_aside[0].count > 30
