"""A nation and a province of two releases: each sends what the other one knows, and the rest after the upgrade.

An earlier release is a commit, whose tree `git archive` gives. EXCHANGE_BASE names another one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from hutong.policy.v1.policy_service_pb2 import GetPolicyRequest
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from hutong.results.v1.missing_report_pb2 import MISSING_REPORT_ANSWER_NOT_OURS
from hutong.results.v1.missing_report_service_pb2 import AnswerMissingReportRequest
from hutong.type.v1 import purpose_pb2, refusal_ground_pb2
from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1 import refusal_service_pb2 as refusals
from sqlalchemy import Table

from services.domain.instant import HOUR, to_timestamp
from services.results.changelog.model import ChangeKind
from services.results.exchange.tables import withheld_kinds
from services.results.missing_reports.tables import missing_reports
from services.runtime.clock import SystemClock
from tests.support.results.country import read_rows
from tests.support.results.factories import USCC
from tests.support.verification.node import ALL, LAB, NUMBERS, Callers, Node, calling, document, paper, question
from tests.support.versions import Version
from tests.support.waiting import until

NATION, HENAN = "000000", "410000"
BASES = {
    # The last commit before capabilities. It knows answers of laboratories, policies upwards and reported refusals.
    "22031ca8": (),
    # The last commit before the three.
    "a71e28a6": ("HUTONG_UPSTREAM_VERIFICATION",),
}
"""Commits of the previous release, each with the variables of a node that it does not know."""
if os.environ.get("EXCHANGE_BASE", ""):
    BASES = {os.environ["EXCHANGE_BASE"]: ()}
WITHOUT_SENT_POLICIES = "a71e28a6"
"""The commit of BASES that does not know SendPolicies and ExchangeRefusals."""
NATIONS_LAB = f"labs/{USCC}"
HENANS_POLICY = "jurisdictions/410000/policies/venue"


@dataclass
class Pair:
    """A nation and Henan below it. One of them runs the previous release."""

    nodes: dict[str, Node]
    callers: dict[str, Callers]
    policies: dict[str, PolicyServiceStub]
    older: str
    base: str

    @property
    def newer(self) -> str:
        """The region of the node that runs this version."""
        return HENAN if self.older == NATION else NATION

    async def upgrade(self) -> None:
        """Let the older node run this version."""
        node = self.nodes[self.older]
        await node.stop(ALL)
        node.version = None
        await node.start(ALL)

    def rows(self, region: str, table: Table, *columns: str) -> list[tuple[Any, ...]]:
        """Return columns of all rows of a table of a node's Results."""
        return read_rows(f"sqlite:///{self.nodes[region].directory / 'results.db'}", table, *columns)

    async def has_policy(self, region: str) -> bool:
        """Return whether a node knows the policy that Henan has published."""
        call: Any = self.policies[region].GetPolicy(GetPolicyRequest(name=HENANS_POLICY))
        return bool(await call.code() == grpc.StatusCode.OK)

    async def assessed(self, region: str) -> dict[str, str]:
        """Return the node that has assessed each reported refusal, as a node knows it."""
        found = await self.callers[region].refusals.ListRefusals(refusals.ListRefusalsRequest(region=HENAN))
        return {one.name: one.assess_node for one in found.refusals}


@pytest.fixture(scope="module", params=list(BASES))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Version]:
    """An earlier release."""
    commit = request.param
    folder = tmp_path_factory.mktemp("before")
    found = Version.of_commit(commit, folder, BASES[commit]) if shutil.which("git") else None
    if found is None:
        pytest.skip(f"this clone does not have the commit {commit}")
    return commit, found


@pytest.fixture(params=[NATION, HENAN], ids=["older above", "older below"])
async def pair(request: pytest.FixtureRequest, base: tuple[str, Version], tmp_path: Path) -> AsyncIterator[Pair]:
    """The two nodes, serving. At the end no process may have logged an error."""
    older, (commit, version) = request.param, base
    async with AsyncExitStack() as stack:
        nodes: dict[str, Node] = {}
        callers: dict[str, Callers] = {}
        policies: dict[str, PolicyServiceStub] = {}
        for region in (NATION, HENAN):
            directory = tmp_path / region
            directory.mkdir()
            own = version if region == older else None
            node = nodes[region] = Node(directory, region=region, above=nodes.get(NATION), version=own)
            stack.push_async_callback(node.close)
            callers[region] = await stack.enter_async_context(calling(node.addresses))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(node.addresses["policy"]))
            policies[region] = PolicyServiceStub(channel)
        await asyncio.gather(*(node.start(ALL) for node in nodes.values()))
        yield Pair(nodes, callers, policies, older, commit)
        for region, node in nodes.items():
            errors = [
                line for line in node.log(ALL).splitlines() if '"level":"error"' in line or '"code":"INTERNAL"' in line
            ]
            assert not errors, (region, errors[:3])


async def _is_recognized(callers: Callers, number: str) -> bool:
    decision = (await callers.decisions.Verify(question(number))).decision
    return decision.outcome == pb.DECISION_OUTCOME_RECOGNIZED


async def _has_published(callers: Callers) -> bool:
    """Publish a policy of Henan. That fails until the nation has handed over its policies of Henan."""
    try:
        await callers.publish(HENAN, 72 * HOUR)
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


async def _report(callers: Callers, number: str) -> str:
    """Report a refusal at a hotel of Zhengzhou. Return its name."""
    request = refusals.ReportRefusalRequest(
        region="410105",
        venue="站前宾馆",
        purpose=purpose_pb2.PURPOSE_HOTEL,
        refuse_time=to_timestamp(SystemClock().now() - HOUR),
        grounds=[refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY],
        document=document(number),
    )
    return str((await callers.refusals.ReportRefusal(request)).refusal.name)


async def test_what_both_know_crosses_and_the_rest_after_the_upgrade(pair: Pair) -> None:
    """Uploads, look-ups, policies, missing reports with their answers, and reported refusals, in both directions."""
    nation, henan = pair.callers[NATION], pair.callers[HENAN]
    reported = SystemClock().now() - HOUR
    await nation.publish(NATION, 48 * HOUR)
    await henan.create_lab()
    await nation.create_lab(NATIONS_LAB, "110100")
    await henan.upload(NUMBERS[0], "R-henan", reported)
    await until(lambda: _is_recognized(nation, NUMBERS[0]))
    await nation.upload(NUMBERS[1], "R-nation", reported, lab=NATIONS_LAB)
    await until(lambda: _is_recognized(henan, NUMBERS[1]))

    # A paper report is shown at the older node, and its laboratory at the newer node denies it.
    shown = paper("DENIED-1", reported, lab=LAB if pair.newer == HENAN else NATIONS_LAB)
    await pair.callers[pair.older].decisions.Verify(question(NUMBERS[2], evidence=[shown]))
    denial = AnswerMissingReportRequest(
        name=f"{shown.lab}/missingReports/DENIED-1", answer=MISSING_REPORT_ANSWER_NOT_OURS
    )

    async def is_denied() -> bool:
        call = pair.callers[pair.newer].missing_reports.AnswerMissingReport(denial)
        return await call.code() == grpc.StatusCode.OK

    await until(is_denied)
    withheld = [(pair.older, int(ChangeKind.MISSING_REPORT_ANSWERS))]
    await until(lambda: pair.rows(pair.newer, withheld_kinds, "node", "kind") == withheld)

    await until(lambda: _has_published(henan))
    reports = {await _report(nation, NUMBERS[0]), await _report(henan, NUMBERS[1])}
    if pair.base != WITHOUT_SENT_POLICIES:
        await until(lambda: pair.has_policy(NATION))
        await _await_assessments(pair, reports)
    else:
        assert not await pair.has_policy(NATION)
        assert {len(await pair.assessed(region)) for region in (NATION, HENAN)} == {1}

    await pair.upgrade()
    await until(lambda: pair.has_policy(NATION))
    await _await_assessments(pair, reports)
    answers = [("DENIED-1", MISSING_REPORT_ANSWER_NOT_OURS)]
    await until(lambda: pair.rows(pair.older, missing_reports, "report_number", "answer") == answers)
    assert pair.rows(pair.newer, withheld_kinds, "node") == []
    # Results that are uploaded after the upgrade are sent too.
    await henan.upload(NUMBERS[2], "R-later", reported)
    await until(lambda: _is_recognized(nation, NUMBERS[2]))


async def _await_assessments(pair: Pair, reports: set[str]) -> None:
    """Wait until both nodes know the same assessments of these reports."""

    async def are_alike() -> bool:
        known = [await pair.assessed(region) for region in (NATION, HENAN)]
        return known[0] == known[1] and known[0].keys() == reports and all(known[0].values())

    await until(are_alike)
