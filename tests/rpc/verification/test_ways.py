"""Every way to ask gives the same decision: alone, with others at the same time, in a batch, and on a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_LOCAL, LOOKUP_SCOPE_NATIONWIDE, LOOKUP_SCOPE_UNSPECIFIED
from hutong.type.v1.outcome_pb2 import OUTCOME_NEGATIVE, OUTCOME_POSITIVE
from hutong.verification.v1.decision_pb2 import Decision
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong.verification.v1.verification_service_pb2 import BatchVerifyRequest, StreamVerifyRequest, VerifyRequest

from services.domain.instant import DAY, HOUR, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.verification.node import ALL, NUMBERS, Callers, Node, calling, paper, question

REGIONS = ("410105", "410200", "410300", "411400")
"""Places: one asks for 48 hours, one for nothing, one accepts a second item, and one has no policy."""
_DIFFER = {"name", "evaluateTime", "sources", "nextSteps"}
"""Fields with the instant of the answer, the id of the stored decision, or the age of the sources."""


def _told(decision: Decision) -> dict[str, object]:
    found = MessageToDict(decision)
    kept = {key: value for key, value in found.items() if key not in _DIFFER}
    return kept | {"isStored": bool(decision.name), "steps": [step.action for step in decision.next_steps]}


def _questions() -> Iterator[VerifyRequest]:
    now = SystemClock().now()
    shown: tuple[list[PresentedEvidence], ...] = ([], [paper("SHOWN", now - HOUR)], [paper("OLD", now - 9 * DAY)])
    for region in REGIONS:
        for number in NUMBERS:
            for evidence in shown:
                for scope in (LOOKUP_SCOPE_UNSPECIFIED, LOOKUP_SCOPE_LOCAL, LOOKUP_SCOPE_NATIONWIDE):
                    yield question(
                        number, region=region, evidence=evidence, scope=scope, use_time=to_timestamp(now - HOUR // 4)
                    )


async def test_every_way_to_ask_gives_the_same_decision(tmp_path: Path) -> None:
    node = Node(tmp_path)
    try:
        await node.start(ALL)
        async with calling(node.addresses) as callers:
            await _fill(callers)
            asked = list(_questions())
            alone = [_told((await callers.decisions.Verify(one)).decision) for one in asked]
            assert len({str(one["reason"]) for one in alone}) >= 5
            together = await asyncio.gather(*(callers.decisions.Verify(one) for one in asked))
            assert [_told(answer.decision) for answer in together] == alone
            batch = await callers.decisions.BatchVerify(BatchVerifyRequest(requests=asked))
            assert [_told(item.decision) for item in batch.items] == alone
            assert await _on_a_stream(callers, asked) == alone
    finally:
        await node.close()


async def _fill(callers: Callers) -> None:
    """Store a negative of the first person and a positive of the second; the third has nothing."""
    now = SystemClock().now()
    await callers.create_lab()
    await callers.publish("410100", 2 * DAY)
    await callers.publish("410200", None)
    await callers.publish("410300", 2 * DAY, accepted={"items/sars-cov-2-antigen": DAY})
    await callers.upload(NUMBERS[0], "R0", now - 2 * HOUR, OUTCOME_NEGATIVE)
    await callers.upload(NUMBERS[1], "R1", now - 3 * HOUR, OUTCOME_POSITIVE)


async def _on_a_stream(callers: Callers, asked: list[VerifyRequest]) -> list[dict[str, object]]:
    requests = (StreamVerifyRequest(correlation_id=str(index), request=one) for index, one in enumerate(asked))
    answers = callers.decisions.StreamVerify(requests)
    found = {int(answer.correlation_id): _told(answer.decision) async for answer in answers}
    return [found[index] for index in range(len(asked))]
