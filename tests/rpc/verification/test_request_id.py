"""The request id of a call is in the log of every service that answers for it."""

from __future__ import annotations

import json
from pathlib import Path

from services.domain.instant import HOUR
from services.runtime.clock import SystemClock
from tests.support.verification.node import NUMBERS, SERVICES, Node, calling, question

REQUEST_ID = "gate-7-0001"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def logged(node: Node, service: str) -> list[tuple[str, str]]:
    """Return the method and the trace id of each call with the request id that a service has logged."""
    lines = [json.loads(line) for line in node.log(service).splitlines() if line.startswith("{")]
    return [
        (line["method"].rsplit("/", 1)[1], line.get("trace_id", ""))
        for line in lines
        if line["event"] == "call" and line["request_id"] == REQUEST_ID
    ]


async def test_the_lookup_for_a_decision_has_the_request_id_of_verify(tmp_path: Path) -> None:
    node = Node(tmp_path)
    try:
        await node.start(*SERVICES)
        async with calling(node.addresses) as callers:
            await callers.create_lab()
            await callers.publish("410100", 48 * HOUR)
            await callers.upload(NUMBERS[0], "R1", SystemClock().now() - HOUR)
            metadata = (("x-request-id", REQUEST_ID), ("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"))
            await callers.decisions.Verify(question(NUMBERS[0]), metadata=metadata)
    finally:
        await node.close()
    assert logged(node, "verification") == [("Verify", TRACE_ID)]
    assert logged(node, "results") == [("BatchLookupColumns", TRACE_ID)]
