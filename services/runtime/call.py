"""The call under way: its id, trace, deadline and outcome."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from hutong.access.v1 import access_pb2

from services.domain.subject import holds_resident_number
from services.runtime.audit import ON_BEHALF_OF
from services.runtime.caller import LOCAL, Caller

_TRACE_PARENT = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")


REQUEST_ID = "x-request-id"
"""The metadata key of a call's id, in requests and in the trailers of a failed call."""
ACCEPT_LANGUAGE = "accept-language"
"""The metadata key of the languages in which the caller reads errors (RFC 9110, section 12.5.4)."""
CASE = "hutong-case"
"""The metadata key of the case that a call serves. Some grants of the contract need a case."""
TRACE_PARENT = "traceparent"
"""The metadata key of W3C Trace Context: version, trace id, parent span id and flags."""
_EIGHTEEN_DIGITS = re.compile("(?=([0-9]{18}))")
"""Finds every 18 digits in a row, also those that overlap."""
_SEES_ACTORS = {"supervisor", "authority", "operator", LOCAL}
_SEES_CONTACTS = {"supervisor", "operator", LOCAL}
UNKNOWN = Caller("", fault="the call was not identified")


def _count_nothing(_change: int) -> None:
    pass


def _denies_nobody(_name: str) -> bool:
    return False


class Call:
    """One call as the interceptors see it. Each layer adds what only that layer knows, so the object is mutable."""

    __slots__ = (
        "accept_language",
        "acting_for",
        "at_end",
        "bare_number",
        "caller",
        "case",
        "code",
        "deadline",
        "is_denied",
        "misses",
        "needs_name",
        "note_waiting",
        "reason",
        "request_id",
        "trace",
        "view",
        "waits",
    )

    def __init__(self, request_id: str, trace: Trace | None = None, case: str = "", accept_language: str = "") -> None:
        self.request_id = request_id
        # The languages as the caller sent them. They are parsed only if the call fails.
        self.accept_language = accept_language
        # Unknown until the layer Identity has identified the caller.
        self.caller = UNKNOWN
        # Returns whether the caller of a given name is on the deny-list.
        self.is_denied: Callable[[str], bool] = _denies_nobody
        self.case = case
        # The name of the caller that proposed the change which this call approves; empty for other calls.
        self.acting_for = ""
        # The trace; None when the caller sent no trace context and this process does not trace.
        self.trace = trace
        # The most that the caller may see of the answer (hutong.access.v1.View); unspecified until Authorization has
        # set it.
        self.view = access_pb2.VIEW_UNSPECIFIED
        # `needs_name` says that the contract makes the caller state a name with each document. `bare_number` says that
        # the access file lets the caller leave the names out.
        self.needs_name = False
        self.bare_number = False
        # How many answers about persons without any record are not yet counted in the caller's budget.
        self.misses = 0
        # A function that Budgets sets. It is called once, with this call, when the call has ended in any way.
        self.at_end: Callable[[Call], None] | None = None
        # How many parts of the call are waiting without work (`only_waiting`).
        self.waits = 0
        # A function that Admission sets. It adds to the number of calls that only wait.
        self.note_waiting: Callable[[int], None] = _count_nothing
        self.code = "OK"
        self.reason = ""
        # The deadline on the event loop's clock, in seconds; None for a stream without a deadline.
        self.deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace, and the span of this call in it.

    Attributes:
        trace_id: the trace.
        span_id: the span of this call. Calls that this call makes name it as their parent.
        flags: whether the trace is sampled.
        parent_id: the span of the caller; empty if the trace begins here.
    """

    trace_id: str
    span_id: str
    flags: str
    parent_id: str = ""

    @classmethod
    def from_header(cls, text: str) -> Trace | None:
        """Return a new span in the trace of a `traceparent`; None unless the text is a valid header of version 00.

        A trace id that holds the number of a resident identity card is not accepted, because trace ids are logged.
        """
        match = _TRACE_PARENT.fullmatch(text)
        if match is None or match["trace"] == "0" * 32 or match["parent"] == "0" * 16:
            return None
        if any(map(holds_resident_number, _EIGHTEEN_DIGITS.findall(match["trace"]))):
            return None
        return cls(match["trace"], secrets.token_hex(8), match["flags"], match["parent"])

    @property
    def is_sampled(self) -> bool:
        """Whether the caller records its part of the trace."""
        return bool(int(self.flags, 16) & 1)

    def to_header(self) -> str:
        """Return the `traceparent` to send with calls that this call makes."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)
"""The call that the running task serves; None outside a call."""


def trace_fields() -> dict[str, str]:
    """Return the ids of the current call's trace for a line of the log; none without a trace."""
    call = current_call.get()
    if call is None or call.trace is None:
        return {}
    return {"trace_id": call.trace.trace_id, "span_id": call.trace.span_id}


def current_caller() -> Caller:
    """Return the caller of the current call; outside a call, a caller without a role.

    Call it in the event loop, because threads have no current call.
    """
    call = current_call.get()
    return Caller("") if call is None else call.caller


def current_case() -> str:
    """Return the case that the current call names; empty if it names none, and outside a call."""
    call = current_call.get()
    return "" if call is None else call.case


def current_actor() -> str | None:
    """Return the name to be stored beside the current call's change; None if the caller is not known.

    That is the name of the caller, or of the proposer if the call approves a change.

    Call it in the event loop, because threads have no current call.
    """
    call = current_call.get()
    return call.acting_for or call.caller.name or None if call is not None else None


def current_requester() -> str:
    """Return a text that names who makes the current call's request; empty outside a call.

    The text consists of the name of the caller and, if there is one, the hash of the person behind the token. While a
    call approves a change, the text is the name of the proposer.
    """
    call = current_call.get()
    if call is None:
        return ""
    return call.acting_for or "\0".join([call.caller.name, *filter(None, [call.caller.person])])


def presenter_of(caller: Caller) -> str:
    """Return a text that names who shows reports: the caller, and for an application its user. Empty for local callers.

    The user is part of the text, so that the users of one application are counted separately.
    """
    if caller.role == LOCAL:
        return ""
    return caller.name if caller.user is None else f"{caller.name} {caller.user[:8].hex()}"


def name_of_presenter(presenter: str) -> str:
    """Return the name of the caller in a text of `presenter_of`."""
    return presenter.partition(" ")[0]


def current_approver() -> str | None:
    """Return the name of the caller that approves the current call's change; None if the change needs no approval.

    Call it in the event loop, because threads have no current call.
    """
    call = current_call.get()
    return call.caller.name if call is not None and call.acting_for else None


def may_see_actors() -> bool:
    """Whether the caller of the current call may see who changed what."""
    call = current_call.get()
    return call is not None and call.caller.role in _SEES_ACTORS


def may_see_contacts() -> bool:
    """Whether the caller of the current call may see the contacts of laboratories."""
    call = current_call.get()
    return call is not None and call.caller.role in _SEES_CONTACTS


@contextlib.contextmanager
def only_waiting() -> Iterator[None]:
    """Mark the current call as only waiting while the block runs. Meanwhile it does not count as a call in flight."""
    call = current_call.get()
    if call is None:
        yield
        return
    # Several parts of one call may wait at the same time. Only the first and the last of them change the count.
    if not call.waits:
        call.note_waiting(1)
    call.waits += 1
    try:
        yield
    finally:
        call.waits -= 1
        if not call.waits:
            call.note_waiting(-1)


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata to send to another service: the current call's id, and its trace if it has one."""
    call = current_call.get()
    if call is None or not call.request_id:
        return ()
    if call.trace is None:
        return ((REQUEST_ID, call.request_id),)
    return ((REQUEST_ID, call.request_id), (TRACE_PARENT, call.trace.to_header()))


def inner_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata for a call to a service of this node. It names the caller for whom the call is made.

    This service records the read of a person. The called service therefore does not.
    """
    call = current_call.get()
    if call is None or not call.caller.name:
        return outgoing_metadata()
    return (*outgoing_metadata(), (ON_BEHALF_OF, call.caller.name))


def seconds_left(at_most: float) -> float:
    """Return how long a call to another service may take: the rest of the caller's time, at most `at_most` seconds."""
    call = current_call.get()
    if call is None or call.deadline is None:
        return at_most
    return max(0.0, min(at_most, call.deadline - asyncio.get_running_loop().time()))
