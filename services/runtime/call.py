"""What the layers around a servicer know of the call under way."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar


class Call:
    """One call as the interceptors see it. Mutable: each layer writes what it alone knows."""

    __slots__ = ("code", "deadline", "reason", "request_id")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.code = "OK"
        self.reason = ""
        # In the event loop's own seconds; None for a stream without a deadline.
        self.deadline: float | None = None


current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)
"""The call that the running task serves; None outside of any."""


def seconds_left(at_most: float) -> float:
    """The time a call of ours to another service may take: what is left of the caller's, at most `at_most` seconds."""
    call = current_call.get()
    if call is None or call.deadline is None:
        return at_most
    return max(0.0, min(at_most, call.deadline - asyncio.get_running_loop().time()))
