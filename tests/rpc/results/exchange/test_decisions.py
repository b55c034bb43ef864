"""Decisions of a province on results of another province, with every source available and with some unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.type.interval_pb2 import Interval
from hutong.exchange.v1.exchange_service_pb2 import ReinstateNodeRequest, RetireNodeRequest
from hutong.results.v1.lookup_pb2 import (
    LOOKUP_SCOPE_LOCAL,
    LOOKUP_SCOPE_NATIONWIDE,
    LOOKUP_SCOPE_UNSPECIFIED,
    SOURCE_STATE_OK,
    SOURCE_STATE_RETIRED,
    SOURCE_STATE_UNAVAILABLE,
    LookupScope,
)
from hutong.results.v1.results_admin_service_pb2 import RecallResultsRequest
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1.verification_service_pb2 import BatchVerifyRequest, StreamVerifyRequest
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run as run_hutong
from hutong_client.formatting import source_name

from services.domain.instant import HOUR, MINUTE, SECOND, Span, to_timestamp
from services.results.exchange.downstream.nodes import MAX_SILENCE
from services.results.exchange.tables import nodes, replicated_lives
from services.results.timing import ResultsTiming
from services.runtime.clock import SystemClock
from services.storage.engine import open_database
from tests.support.clocks import ClockAhead
from tests.support.databases import MakeUrl
from tests.support.errors import failure_of
from tests.support.link import Link, link_to
from tests.support.results.country import HENAN, JILIN, Country, Member, open_member
from tests.support.results.factories import LAB_NAME, NEGATIVE, POSITIVE, make_document, make_tube
from tests.support.verification.gate import ANTIGEN, CARE_HOME, HEPATITIS, SCHOOL, Gate, open_gate
from tests.support.waiting import in_one_of, until

if TYPE_CHECKING:
    from hutong.type.v1.outcome_pb2 import Outcome

HOTEL = 4
LACK = pb.DECISION_REASON_NO_RESULT
UNANSWERED = pb.DECISION_REASON_SOURCE_UNAVAILABLE
VALID = pb.DECISION_REASON_VALID
POSITIVE_RESULT = pb.DECISION_REASON_POSITIVE_RESULT


@pytest.fixture
async def link(country: Country) -> AsyncIterator[Link]:
    """The link between Henan and the nation."""
    async with link_to(country.nation.address) as opened:
        yield opened


@pytest.fixture
def source_seconds(request: pytest.FixtureRequest) -> dict[str, str]:
    """The setting of how long the services of Henan wait for each other; no answer is late without a parameter."""
    return {"source_seconds": request.param} if hasattr(request, "param") else {}


@pytest.fixture
async def henan(country: Country, link: Link, source_seconds: dict[str, str]) -> Member:
    return await country.join(HENAN, upstream=link.address, **source_seconds)


@pytest.fixture
async def gate(
    henan: Member, tmp_path: Path, sqlite_url: MakeUrl, source_seconds: dict[str, str]
) -> AsyncIterator[Gate]:
    async with open_gate(henan, tmp_path / "gate", sqlite_url, **source_seconds) as opened:
        yield opened


async def gate_finds(gate: Gate, reason: int) -> bool:
    """Return whether a person without results is decided with this reason."""
    return (await gate.verify(2)).reason == reason


async def join_jilin(country: Country, *, ahead: Span = 0, upstream: str = "") -> Member:
    """Jilin with its laboratory and a clock of its own."""
    jilin = await country.join(JILIN, clock=ClockAhead(ahead), upstream=upstream)
    await jilin.node.register()
    return jilin


async def upload(member: Member, person: int, *, ahead: Span = -HOUR) -> str:
    """Upload a person's negative, reported `ahead` of now. Return the token of the upload."""
    tube = make_tube(person, reported=SystemClock().now() + ahead)
    return (await member.node.upload([tube], f"u{person}"))[0].consistency_token


async def connected(gate: Gate) -> None:
    """Wait until the province has asked the nation once, so that a link frozen later was connected before."""

    async def answered() -> bool:
        return sources(await gate.verify(999)).get("nodes/000000/results") == SOURCE_STATE_OK

    await until(answered)


async def while_frozen(gate: Gate, link: Link, ask: Callable[[], Awaitable[None]]) -> None:
    """Freeze the link to the nation while a gate asks. Before, the nation has answered the gate."""
    await connected(gate)
    link.freeze()
    try:
        await ask()
    finally:
        link.mend()


def sources(decision: pb.Decision) -> dict[str, int]:
    """Return the state of each source."""
    return {source_name(source): source.state for source in decision.sources}


def silence(country: Country, region: str) -> None:
    """Set the contact time of a node so far back that it is unavailable."""
    database = open_database(country.nation.url)
    contact = SystemClock().now() - MAX_SILENCE - SECOND
    database.write_now(
        lambda connection: connection.execute(nodes.update().where(nodes.c.node == region).values(contact_time=contact))
    )
    database.close()


async def test_a_result_of_jilin_is_recognised_in_henan(country: Country, gate: Gate) -> None:
    """The province alone does not have it, which is no ground to refuse."""
    jilin = await join_jilin(country)
    await upload(jilin, 1)
    await until(lambda: len(country.nation.results()) == 1)
    there = await gate.verify(1)
    assert (there.reason, there.basis) == (VALID, pb.DECISION_BASIS_RECORD)

    async def all_have_answered() -> bool:
        return sources(await gate.verify(1)) == {
            f"nodes/{HENAN}/policy": SOURCE_STATE_OK,
            f"nodes/{HENAN}/results": SOURCE_STATE_OK,
            "nodes/000000/results": SOURCE_STATE_OK,
        }

    # Until the nation knows that it has all of Jilin's commits, a decision names Jilin too.
    await until(all_have_answered)
    here = await gate.verify(1, scope=LOOKUP_SCOPE_LOCAL)
    assert (here.reason, here.refusal_permitted) == (pb.DECISION_REASON_NATION_NOT_ASKED, False)
    assert (here.action, here.then_action) == (pb.GATE_ACTION_ASK_AGAIN, pb.GATE_ACTION_LET_IN)
    nobody = await gate.verify(2)
    assert (nobody.reason, nobody.refusal_permitted) == (LACK, True)
    assert nobody.action == pb.GATE_ACTION_MAY_BE_REFUSED


async def ask_unset(gate: Gate, *people: int) -> list[list[pb.Decision]]:
    """The same questions with the scope unset: by calls, by a batch and on a stream."""
    questions = [gate.question(person, scope=LOOKUP_SCOPE_UNSPECIFIED) for person in people]
    calls = await asyncio.gather(*(gate.decisions.Verify(one) for one in questions))
    batch = await gate.decisions.BatchVerify(BatchVerifyRequest(requests=questions))
    frames = [
        StreamVerifyRequest(correlation_id=str(number), request=one) for number, one in enumerate(questions, start=10)
    ]
    answers = {answer.correlation_id: answer.decision async for answer in gate.decisions.StreamVerify(iter(frames))}
    return [
        [answer.decision for answer in calls],
        [item.decision for item in batch.items],
        [answers[mark] for mark in sorted(answers)],
    ]


async def test_scope_unset_asks_the_nation_only_if_it_must(country: Country, henan: Member, gate: Gate) -> None:
    """Own records that recognise are the answer; a result elsewhere is found; a lack counts if the nation answered."""
    jilin = await join_jilin(country)
    await upload(jilin, 1)
    await henan.node.register()
    await upload(henan, 2)
    await until(lambda: len(country.nation.results()) == 2)
    for there, here, nobody in await ask_unset(gate, 1, 2, 3):
        assert (there.reason, here.reason, nobody.reason) == (VALID, VALID, LACK)
        assert sources(there)["nodes/000000/results"] == sources(nobody)["nodes/000000/results"] == SOURCE_STATE_OK
        assert "nodes/000000/results" not in sources(here)
        assert nobody.action == pb.GATE_ACTION_MAY_BE_REFUSED
        assert await gate.is_repeatable(nobody)
    kept = await gate.verify(2, scope=LOOKUP_SCOPE_UNSPECIFIED, store_decision=True)
    assert await gate.is_repeatable(kept)


async def test_an_own_negative_hides_no_positive_of_another_node(country: Country, henan: Member, gate: Gate) -> None:
    """The scope is unset, whichever result came first. When the positive is recalled or cleared elsewhere, it ends."""
    jilin = await join_jilin(country)
    await henan.node.register()

    async def report(member: Member, number: str, person: int, outcome: Outcome.ValueType, ago: Span) -> None:
        tube = make_tube(person, outcome=outcome, reported=SystemClock().now() - ago)
        tube.persons[0].report_number = number
        await member.node.upload([tube], number)

    async def answers(person: int, reason: pb.DecisionReason.ValueType, *, asks: bool) -> bool:
        decision = await gate.verify(person, scope=LOOKUP_SCOPE_UNSPECIFIED)
        return decision.reason == reason and ("nodes/000000/results" in sources(decision)) is asks

    await report(henan, "H1", 1, NEGATIVE, 3 * HOUR)
    assert await answers(1, VALID, asks=False)
    await report(jilin, "J1", 1, POSITIVE, 2 * HOUR)
    await report(jilin, "J2", 2, POSITIVE, 2 * HOUR)
    await until(lambda: answers(1, POSITIVE_RESULT, asks=True))
    await until(lambda: len(country.nation.results()) == 3)
    await report(henan, "H2", 2, NEGATIVE, 3 * HOUR)
    await until(lambda: answers(2, POSITIVE_RESULT, asks=True))
    await report(jilin, "J22", 2, NEGATIVE, HOUR)
    await until(lambda: len(country.nation.results()) == 5)
    # The nation knows the clearing negative. It counts, whether or not its copy has come.
    assert (await gate.verify(2, scope=LOOKUP_SCOPE_UNSPECIFIED)).reason == VALID
    await until(lambda: answers(2, VALID, asks=False))
    interval = Interval(start_time=to_timestamp(0), end_time=to_timestamp(SystemClock().now()))
    recall = RecallResultsRequest(lab=LAB_NAME, report_interval=interval, outcomes=[POSITIVE], reason="contaminated")
    await jilin.node.admin.RecallResults(recall)
    await until(lambda: answers(1, VALID, asks=False))


async def test_items_of_a_policy_are_asked_of_the_nation(country: Country, henan: Member, gate: Gate) -> None:
    """An antigen test counts where it is accepted; its positive reaches the province, and one of hepatitis does not.

    Where hepatitis stands, own records therefore never settle a question.
    """
    jilin = await join_jilin(country)
    await henan.node.register()

    async def report(member: Member, number: str, person: int, outcome: Outcome.ValueType, item: str) -> None:
        tube = make_tube(person, outcome=outcome, reported=SystemClock().now() - HOUR, item=item)
        tube.persons[0].report_number = number
        await member.node.upload([tube], number, items=[item])

    async def ask(person: int, purpose: int) -> tuple[int, str, bool]:
        decision = await gate.verify(person, scope=LOOKUP_SCOPE_UNSPECIFIED, purpose=purpose)
        return decision.reason, decision.item, "nodes/000000/results" in sources(decision)

    await report(jilin, "A1", 1, NEGATIVE, ANTIGEN)
    await report(henan, "H2", 2, NEGATIVE, "")
    await until(lambda: len(country.nation.results()) == 2)
    assert await asyncio.gather(ask(1, CARE_HOME), ask(1, HOTEL), ask(2, CARE_HOME), ask(2, SCHOOL)) == [
        (VALID, ANTIGEN, True), (LACK, "", True), (VALID, "", False), (VALID, "", True),
    ]  # fmt: skip
    await report(jilin, "B2", 2, POSITIVE, HEPATITIS)
    await until(lambda: len(country.nation.results()) == 3)
    assert await ask(2, SCHOOL) == (POSITIVE_RESULT, HEPATITIS, True)
    assert await ask(2, CARE_HOME) == (VALID, "", False)
    await report(jilin, "A2", 2, POSITIVE, ANTIGEN)

    async def is_known() -> bool:
        found = LookupLatestRequest(document=make_document(2), items=[ANTIGEN])
        return bool((await henan.node.results.LookupLatest(found)).out_of_region)

    await until(is_known)
    assert await ask(2, CARE_HOME) == (POSITIVE_RESULT, ANTIGEN, True)


@pytest.mark.parametrize("source_seconds", ["4"], indirect=True)
async def test_scope_unset_while_the_nation_is_frozen(henan: Member, gate: Gate, link: Link) -> None:
    """Own records count as ever; of a stranger nothing is known, in time, and the gate asks again and then lets in."""
    await henan.node.register()
    await upload(henan, 1)

    async def ask() -> None:
        for here, stranger in await ask_unset(gate, 1, 2):
            assert (here.reason, stranger.reason) == (VALID, UNANSWERED)
            assert sources(stranger)["nodes/000000/results"] == SOURCE_STATE_UNAVAILABLE
            assert (stranger.action, stranger.then_action) == (pb.GATE_ACTION_ASK_AGAIN, pb.GATE_ACTION_LET_IN)

    await in_one_of(3, partial(while_frozen, gate, link, ask))
    await connected(gate)


async def test_while_a_province_is_silent_no_decision_is_a_lack(country: Country, gate: Gate) -> None:
    """The silent province's results are unknown: UNDETERMINED, with the node to ask again.

    A person with a result is recognised.
    """
    jilin = await join_jilin(country)
    await upload(jilin, 1)
    await until(lambda: len(country.nation.results()) == 1)
    await jilin.node.server.stop(0)
    silence(country, JILIN)
    decision = pb.Decision()

    async def is_known_silent() -> bool:
        """Whether the nation names Jilin. On a busy machine the nation itself may be late."""
        nonlocal decision
        decision = await gate.verify(2, store_decision=True)
        assert (decision.outcome, decision.reason) == (pb.DECISION_OUTCOME_UNDETERMINED, UNANSWERED)
        assert not decision.refusal_permitted
        return f"nodes/{JILIN}/results" in sources(decision)

    await until(is_known_silent)
    assert sources(decision)[f"nodes/{JILIN}/results"] == SOURCE_STATE_UNAVAILABLE
    assert [one.results_service for one in decision.next_steps] == [f"nodes/{JILIN}"]
    assert await gate.is_repeatable(decision)
    assert (await gate.verify(1)).reason == VALID


async def test_a_retired_nodes_silence_counts_no_more_until_it_comes_back(country: Country, gate: Gate) -> None:
    """The retired node's results stay valid, and a lack counts again.

    Only a silent node that is known can be retired.
    """
    jilin = await join_jilin(country)
    await upload(jilin, 1)
    await until(lambda: len(country.nation.results()) == 1)
    exchange = country.nation.exchange
    retire = RetireNodeRequest(name=f"nodes/{JILIN}", reason="closed for good")
    assert (await failure_of(exchange.RetireNode(retire)))[1] == "NODE_NOT_SILENT"
    unknown = await failure_of(exchange.RetireNode(RetireNodeRequest(name="nodes/110000", reason="closed")))
    assert unknown[1] == "NOT_FOUND"
    await jilin.node.server.stop(0)
    silence(country, JILIN)
    retired = (await exchange.RetireNode(retire)).node
    assert (retired.retire_reason, retired.HasField("retire_time")) == ("closed for good", True)
    again = (await exchange.RetireNode(RetireNodeRequest(name=retired.name, reason="again"))).node
    for one in (again, retired):
        one.ClearField("lag")
    assert again == retired
    lack = await gate.verify(2, store_decision=True)
    assert (lack.reason, lack.refusal_permitted) == (LACK, True)
    assert sources(lack)[f"nodes/{JILIN}/results"] == SOURCE_STATE_RETIRED
    assert await gate.is_repeatable(lack)
    assert (await gate.verify(1)).reason == VALID
    reinstated = (await exchange.ReinstateNode(ReinstateNodeRequest(name=retired.name))).node
    assert not reinstated.HasField("retire_time")
    assert (await gate.verify(2)).reason == UNANSWERED
    at_nation = ("--results", country.nation.address)
    for command in (
        ["retire-node", retired.name, "--reason", "closed for good", *at_nation],
        ["reinstate-node", retired.name, *at_nation],
    ):
        assert await asyncio.to_thread(run_hutong, command) == ExitCode.DONE
    await exchange.RetireNode(retire)
    async with open_member(country.directory / JILIN, jilin.url, JILIN, upstream=country.nation.address):
        await until(lambda: (JILIN, None) in country.nation.rows(nodes, "node", "retire_time"))
        await until(lambda: gate_finds(gate, LACK))


@pytest.mark.parametrize("source_seconds", ["4"], indirect=True)
@pytest.mark.parametrize("seconds", [10.0, 4.0])
async def test_a_frozen_nation_leaves_what_the_province_knows(
    henan: Member, gate: Gate, link: Link, seconds: float
) -> None:
    """A local record counts from the first question on. A missing record is no ground to refuse. No answer is late."""
    await henan.node.register()
    await upload(henan, 1)

    async def ask() -> None:
        for person, reason in ((1, VALID), (2, UNANSWERED)) * 2:
            decision = await gate.verify(person, seconds=seconds)
            assert decision.reason == reason
            assert sources(decision)[f"nodes/{HENAN}/results"] == SOURCE_STATE_OK
            assert sources(decision)["nodes/000000/results"] == SOURCE_STATE_UNAVAILABLE

    await in_one_of(3, partial(while_frozen, gate, link, ask))
    await connected(gate)


@pytest.mark.parametrize("scope", [LOOKUP_SCOPE_LOCAL, LOOKUP_SCOPE_UNSPECIFIED])
async def test_a_slow_nation_does_not_slow_questions_to_the_province(
    henan: Member, gate: Gate, link: Link, scope: LookupScope.ValueType
) -> None:
    """Calls, batches and streams with nationwide questions pile up; local ones pass by."""
    await henan.node.register()
    await upload(henan, 1)
    await connected(gate)
    link.freeze()
    batch = BatchVerifyRequest(requests=[gate.question(2)] * 100)
    stream = gate.decisions.StreamVerify(
        iter([StreamVerifyRequest(correlation_id=str(number), request=gate.question(2)) for number in range(50)])
    )
    slow: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(asyncio.gather(*(gate.decisions.BatchVerify(batch) for _ in range(10)))),
        asyncio.ensure_future(asyncio.gather(*(gate.verify(2) for _ in range(50)))),
        asyncio.ensure_future(anext(aiter(stream))),
    ]
    try:
        await until(lambda: link.held > 0)
        local = gate.question(1, scope=scope)
        assert (await gate.decisions.Verify(local)).decision.reason == VALID
        (item,) = (await gate.decisions.BatchVerify(BatchVerifyRequest(requests=[local]))).items
        assert item.decision.reason == VALID
        other = gate.decisions.StreamVerify(iter([StreamVerifyRequest(correlation_id="1", request=local)]))
        assert (await anext(aiter(other))).decision.reason == VALID
        assert not any(task.done() for task in slow)
    finally:
        stream.cancel()
        link.mend()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_a_token_of_jilin_is_honoured_in_henan(country: Country, gate: Gate) -> None:
    """Jilin's changes arrive late. Without the token the older state is used; with it never, in any scope."""
    async with link_to(country.nation.address) as way:
        jilin = await join_jilin(country, upstream=way.address)
        await upload(jilin, 0)
        await until(lambda: len(country.nation.results()) == 1)
        for person, scope in ((1, LOOKUP_SCOPE_LOCAL), (2, LOOKUP_SCOPE_NATIONWIDE), (3, LOOKUP_SCOPE_NATIONWIDE)):
            way.freeze()
            token = await upload(jilin, person)
            assert (await gate.verify(person)).reason == LACK
            fresh = asyncio.ensure_future(gate.verify(person, at_least_as_fresh=token, scope=scope))
            way.mend()
            assert (await fresh).reason == VALID


@pytest.mark.parametrize("country", [ResultsTiming(token_wait=0.3)], indirect=True, ids=["soon"])
async def test_a_token_that_is_not_met_leaves_the_decision_undetermined(country: Country, gate: Gate) -> None:
    """A call and each question with the token in a batch have the reason of a source that did not answer.

    The questions of the batch without the token are decided. While the nation is unavailable too, the reason is the
    same, and the nation is named as a source.
    """
    jilin = await join_jilin(country)
    token = await upload(jilin, 1)
    await until(lambda: len(country.nation.results()) == 1)
    await jilin.node.server.stop(0)
    database = open_database(country.nation.url)
    database.write_now(lambda connection: connection.execute(replicated_lives.update().values(newest_sequence=0)))
    database.close()
    decision = await gate.verify(1, at_least_as_fresh=token, store_decision=True)
    assert (decision.outcome, decision.reason) == (pb.DECISION_OUTCOME_UNDETERMINED, UNANSWERED)
    assert sources(decision)[f"nodes/{JILIN}/results"] == SOURCE_STATE_UNAVAILABLE
    assert await gate.is_repeatable(decision)
    requests = [gate.question(1, at_least_as_fresh=token)] * 30 + [gate.question(1)] * 5
    items = (await gate.decisions.BatchVerify(BatchVerifyRequest(requests=requests))).items
    assert [item.decision.reason for item in items] == [UNANSWERED] * 30 + [VALID] * 5
    await country.nation.node.server.stop(0)
    decision = await gate.verify(1, at_least_as_fresh=token)
    assert decision.reason == UNANSWERED
    assert sources(decision)["nodes/000000/results"] == SOURCE_STATE_UNAVAILABLE


@pytest.mark.parametrize("ahead", [MINUTE, -MINUTE])
async def test_a_clock_that_is_a_minute_off_turns_no_decision(country: Country, gate: Gate, ahead: Span) -> None:
    """A report issued just now by Jilin's clock is recognised in Henan. A stated use time is applied exactly."""
    jilin = await join_jilin(country, ahead=ahead)
    token = await upload(jilin, 1, ahead=ahead - SECOND)
    decision = await gate.verify(1, at_least_as_fresh=token, store_decision=True)
    assert decision.reason == VALID
    assert await gate.is_repeatable(decision)
    stated = await gate.verify(1, use_time=to_timestamp(SystemClock().now()))
    assert stated.reason == (pb.DECISION_REASON_NOT_YET_REPORTED if ahead > 0 else VALID)
