"""Decisions for a time of use in the past, of a person who has been tested often since."""

from __future__ import annotations

from pathlib import Path

from hutong.type.v1 import purpose_pb2, refusal_ground_pb2
from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1 import refusal_pb2, verification_service_pb2
from hutong.verification.v1 import refusal_service_pb2 as service

from services.domain.instant import DAY, HOUR, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.verification.node import ALL, NUMBERS, Node, calling, document, question


async def test_tests_that_followed_hide_no_result_of_then(tmp_path: Path) -> None:
    """Behind eleven later tests the earlier one is still found. Behind twenty it may be missing; none is refused."""
    node = Node(tmp_path)
    try:
        await node.start(ALL)
        async with calling(node.addresses) as callers:
            await callers.create_lab()
            await callers.publish("410100", 48 * HOUR)
            then = SystemClock().now() - 8 * DAY
            asked = question(NUMBERS[0], use_time=to_timestamp(then), store_decision=True)
            await callers.upload(NUMBERS[0], "THEN", then - HOUR)
            for number in range(1, 12):
                await callers.upload(NUMBERS[0], f"LATER{number}", then + number * 6 * HOUR)
            decision = (await callers.decisions.Verify(asked)).decision
            assert (decision.reason, decision.result.split("/")[-1]) == (pb.DECISION_REASON_VALID, "THEN@1")
            for number in range(12, 21):
                await callers.upload(NUMBERS[0], f"LATER{number}", then + number * 6 * HOUR)
            decision = (await callers.decisions.Verify(asked)).decision
            assert decision.reason == pb.DECISION_REASON_HISTORY_CUT
            assert not decision.refusal_permitted
            replay = verification_service_pb2.ReplayDecisionRequest(name=decision.name)
            replayed = await callers.decisions.ReplayDecision(replay)
            assert replayed.comparison == verification_service_pb2.REPLAY_COMPARISON_IDENTICAL
            report = service.ReportRefusalRequest(
                region="410105",
                purpose=purpose_pb2.PURPOSE_HOTEL,
                refuse_time=to_timestamp(then),
                grounds=[refusal_ground_pb2.REFUSAL_GROUND_EXPIRED],
                document=document(NUMBERS[0]),
            )
            refusal = (await callers.refusals.ReportRefusal(report)).refusal
            assert refusal.assessment == refusal_pb2.REFUSAL_ASSESSMENT_UNDETERMINED
    finally:
        await node.close()
