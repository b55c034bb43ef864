"""The caller's id and trace: taken from the call, and carried by the calls that are made for it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.runtime.call import Call, Trace, current_call, outgoing_metadata
from services.runtime.client.coalescer import Coalescer
from tests.support.waiting import turns

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def test_a_trace_goes_on_under_a_span_of_its_own() -> None:
    trace = Trace.from_header(PARENT)
    assert trace is not None
    version, trace_id, span_id, flags = trace.to_header().split("-")
    assert (version, trace_id, flags) == ("00", TRACE_ID, "01")
    assert span_id != "00f067aa0ba902b7"
    assert len(span_id) == 16


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        PARENT.upper(),
        PARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        PARENT + "-more",
        f"00-{'0410105186001010019':0<32}-00f067aa0ba902b7-01",
    ],
)
def test_what_is_no_trace_context_is_passed_over(text: str) -> None:
    assert Trace.from_header(text) is None


def test_a_call_carries_the_id_of_the_call_it_is_made_for() -> None:
    token = current_call.set(Call("gate-7", Trace.from_header(PARENT)))
    try:
        carried = dict(outgoing_metadata())
    finally:
        current_call.reset(token)
    assert carried["x-request-id"] == "gate-7"
    assert carried["traceparent"].startswith(f"00-{TRACE_ID}-")


def test_outside_of_any_call_nothing_is_carried() -> None:
    current_call.set(None)
    assert outgoing_metadata() == ()


async def test_a_shared_batch_carries_the_first_askers_id_and_the_latest_deadline() -> None:
    """Others share the batch: it must not end when the first asker's time is over."""
    seen: list[tuple[str, float | None]] = []

    async def call(questions: list[int]) -> Sequence[int]:
        under_way = current_call.get()
        assert under_way is not None
        seen.append((under_way.request_id, under_way.deadline))
        return questions

    coalescer: Coalescer[int, int] = Coalescer(call)
    for name, deadline in (("first", 1.0), ("second", 2.0)):
        asker = Call(name)
        asker.deadline = deadline
        current_call.set(asker)
        answer = coalescer.ask(1)
    await answer
    current_call.set(None)
    await turns(1)
    assert seen == [("first", 2.0)]
