"""Starts Policy and Verification beside a province's Results, in the test's own process, for a gate to ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.verification.v1.decision_pb2 import Decision
from hutong.verification.v1.verification_service_pb2 import (
    REPLAY_COMPARISON_IDENTICAL,
    ReplayDecisionRequest,
    VerifyRequest,
)
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub

from services.domain.instant import DAY
from services.policy.main import open_policy
from services.runtime.clock import Clock
from services.verification.main import open_verification
from tests.support.databases import MakeUrl
from tests.support.results.country import Member
from tests.support.results.factories import make_document
from tests.support.servers import serving, settings_for
from tests.support.verification.node import Callers

if TYPE_CHECKING:
    from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceAsyncStub

WINDOW = 2 * DAY
"""The window of the policy at every gate of the tests, counted from the report time."""
CARE_HOME, SCHOOL = 7, 8
"""Purposes with policies of their own: one accepts antigen too, and under the other hepatitis stands too."""
ANTIGEN, HEPATITIS = "items/sars-cov-2-antigen", "items/hepatitis-b"


@dataclass(frozen=True, slots=True)
class Gate:
    """A hotel of a province that asks the province's Verification."""

    region: str
    decisions: VerificationServiceAsyncStub

    def question(self, person: int, **fields: Any) -> VerifyRequest:
        """Return a question about a person, with nationwide scope unless `fields` says otherwise."""
        values = {"scope": LOOKUP_SCOPE_NATIONWIDE, "purpose": 4} | fields
        return VerifyRequest(document=make_document(person), region=self.region, **values)

    async def verify(self, person: int, *, seconds: float = 10.0, **fields: Any) -> Decision:
        """Return the decision about a person."""
        return (await self.decisions.Verify(self.question(person, **fields), timeout=seconds)).decision

    async def is_repeatable(self, decision: Decision) -> bool:
        """Whether a stored decision, made again from its inputs, is the same bit for bit."""
        replayed = await self.decisions.ReplayDecision(ReplayDecisionRequest(name=decision.name))
        return replayed.comparison == REPLAY_COMPARISON_IDENTICAL


@contextlib.asynccontextmanager
async def open_gate(
    member: Member, directory: Path, make_url: MakeUrl, clock: Clock | None = None, **variables: str
) -> AsyncIterator[Gate]:
    """Open a gate at a province. The policies have been in force for ten days and permit refusals.

    Keywords are HUTONG_ variables of Policy and Verification in lower case.
    """
    await asyncio.to_thread(directory.mkdir)
    settings = partial(
        settings_for,
        directory,
        jurisdiction=member.region,
        results_address=member.address,
        policy_database_url=make_url("policy"),
        verification_database_url=make_url("verification"),
        **variables,
    )
    async with contextlib.AsyncExitStack() as stack:
        policy = await stack.enter_async_context(serving(await open_policy(settings(), clock), settings()))
        unit = await open_verification(settings(policy_address=policy), clock)
        verification = await stack.enter_async_context(serving(unit, settings()))
        channels = {"results": member.node.channel}
        for name, address in (("policy", policy), ("verification", verification)):
            channels[name] = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        callers = Callers(channels)
        await callers.publish(member.region, WINDOW)
        await callers.publish(
            member.region, WINDOW, purposes=(CARE_HOME,), policy_id="either", accepted={"": None, ANTIGEN: None}
        )
        await callers.publish(member.region, WINDOW, purposes=(SCHOOL,), policy_id="school", adverse=("", HEPATITIS))
        yield Gate(member.region, VerificationServiceStub(channels["verification"]))
