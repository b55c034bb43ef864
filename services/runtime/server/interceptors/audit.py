"""Audit: an answer about a person leaves only once its row is durable. Every refused call gets a row."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from google.rpc import code_pb2
from hutong.access.v1 import access_pb2

from services.domain.errors import HutongError, NotFound, PermissionDenied, Unauthenticated
from services.runtime.audit import (
    ON_BEHALF_OF,
    AuditEvent,
    AuditKind,
    AuditTrail,
    CallAudit,
    Subject,
    current_audit,
)
from services.runtime.call import UNKNOWN, current_call
from services.runtime.caller import LOCAL
from services.runtime.server.access.described import (
    KeyOf,
    RequestReader,
    count_persons,
    keyed_subjects,
    shows_pending_changes,
    subjects_of,
)
from services.runtime.server.access.names import parse_caller
from services.runtime.server.interceptors.authorization import describe_method
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler
from services.runtime.server.status import to_status

COUNTED_AT_ONCE = 1_000
"""How many changes of a watch one row counts at most. A row for each change would cost one commit each."""
_DENIED = frozenset({code_pb2.PERMISSION_DENIED, code_pb2.UNAUTHENTICATED, code_pb2.RESOURCE_EXHAUSTED})
_BELIEVED = frozenset({"verification", LOCAL})
"""The roles that may state for which caller they call: this node's Verification, and local callers, which may do
everything."""
_BUDGET = "BUDGET_EXCEEDED"
"""The reason of a call that would exceed its caller's budget. It is recorded as a denial. The audit thus shows callers
that ask about very many strangers."""
_SHOWN = _DENIED | {code_pb2.NOT_FOUND}
"""The codes of failed batch items that get rows. Errors with other codes reveal nothing about a person."""


class Audit:
    """Records refused calls and reads of persons, from the request and the response. Changes record themselves.

    This layer is outside the layer that refuses calls. If a call has stored rows itself, the layer adds none. Without a
    trail the layer wraps nothing.
    """

    def __init__(self, trail: AuditTrail | None, key_of: KeyOf) -> None:
        self._trail = trail
        self._key_of = key_of

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Store the rows of the call before its answer leaves."""
        trail = self._trail
        if trail is None or not method.served or not method.name.startswith("/hutong."):
            return proceed
        rules = _MethodRules(method, self._key_of)

        async def handle(request: Any, context: Context) -> Any:
            audit = _open(trail, rules, request, context)
            try:
                response = await proceed(request, context)
            except HutongError as error:
                await trail.record(_events_of_error(rules, audit, error))
                raise
            # Most calls need no row here, because the row of a decision was stored together with the decision.
            if rules.reads and not (audit.is_recorded and rules.items is None) and not audit.is_inner:
                events = _events_of_answer(rules, audit, request, response)
                if events:
                    await trail.record(events)
            return response

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Store a row before the first change of a watch is sent, and further rows that count the later changes."""
        trail = self._trail
        if trail is None or not method.served or not method.name.startswith("/hutong."):
            return proceed
        rules = _MethodRules(method, self._key_of)

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            audit = _open(trail, rules, request, context)
            count, is_first = 0, True
            try:
                async for response in proceed(request, context):
                    # Streams in both directions record their answers or their changes themselves.
                    if rules.watches:
                        found = count_persons(response)
                        count += found
                        # A message without changes says that the watch has caught up, so the changes before it get
                        # their row.
                        if count and (is_first or not found or count >= COUNTED_AT_ONCE):
                            await trail.record(_events_of_watch(audit, count))
                            count, is_first = 0, False
                    yield response
            except HutongError as error:
                await trail.record(_events_of_error(rules, audit, error))
                raise
            finally:
                if count:
                    # If this row cannot be stored, the changes since the last row stay uncounted. An earlier row names
                    # the watch.
                    with contextlib.suppress(HutongError):
                        await trail.record(_events_of_watch(audit, count))

        return handle


class _MethodRules:
    """What the contract says of a method, for the audit.

    Attributes:
        name: the method without its first slash.
        reads: whether an answer may be about a person.
        watches: whether the method streams such answers to one request.
        reader: reads the requests; None for a stream of requests.
        batch: the field of the items if the method is a batch.
        items: reads an item of the batch.
        questions: reads a question of a stream; None for other methods.
        subjects_of_question: returns what a question of a stream is about.
    """

    def __init__(self, method: Method, key_of: KeyOf) -> None:
        self.name = method.name.removeprefix("/")
        described = describe_method(method)
        self.reads = False
        self.reader: RequestReader | None = None
        self.items: RequestReader | None = None
        self.questions: RequestReader | None = None
        self.batch = ""
        if described is not None:
            self.reads = described.GetOptions().Extensions[access_pb2.access].reads_person
            self.reader = None if method.request_streaming else RequestReader(described.input_type, key_of)
            question = described.input_type.fields_by_name.get("request") if method.request_streaming else None
            if question is not None and question.message_type is not None:
                self.questions = RequestReader(question.message_type, key_of)
            batch = described.input_type.fields_by_name.get("requests")
            if batch is not None and "items" in described.output_type.fields_by_name:
                assert batch.message_type is not None
                self.batch, self.items = "requests", RequestReader(batch.message_type, key_of)
        self.watches = self.reads and method.response_streaming and not method.request_streaming
        self.subjects_of_question = partial(subjects_of, self.questions)


def _open(trail: AuditTrail, rules: _MethodRules, request: Any, context: Context) -> CallAudit:
    """Make the audit of a call and set it as the current one."""
    call = current_call.get()
    caller = call.caller if call is not None else UNKNOWN
    audit = CallAudit(
        trail,
        rules.name,
        call.request_id if call is not None else "",
        caller,
        _on_behalf_of(context) if caller.role in _BELIEVED else "",
        partial(subjects_of, rules.reader, request),
        rules.subjects_of_question,
        call.case if call is not None else "",
    )
    current_audit.set(audit)
    return audit


def _on_behalf_of(context: Context) -> str:
    """Return the caller for whom Verification calls; empty if the metadata names none."""
    for key, value in context.invocation_metadata() or ():
        if key == ON_BEHALF_OF and isinstance(value, str) and (value == LOCAL or parse_caller(value) is not None):
            return value
    return ""


def _events_of_error(rules: _MethodRules, audit: CallAudit, error: HutongError) -> list[AuditEvent]:
    """Return the rows of a failed call: if it was refused, or if its person or object does not exist.

    Otherwise return none.
    """
    is_denied = audit.is_hidden or isinstance(error, PermissionDenied | Unauthenticated) or error.reason == _BUDGET
    if not is_denied and not (rules.reads and isinstance(error, NotFound) and not audit.is_inner):
        return []
    kind = AuditKind.DENIAL if is_denied else AuditKind.READ
    code = to_status(error).code
    return [audit.event(kind, subject, code=code, count=0) for subject in audit.subjects()]


def _events_of_answer(rules: _MethodRules, audit: CallAudit, request: Any, response: Any) -> Sequence[AuditEvent]:
    if rules.items is not None:
        keyed = [audit.event(AuditKind.READ, subject) for subject in keyed_subjects(request)]
        return keyed + _events_of_batch(rules.items, audit, getattr(request, rules.batch), response.items)
    if audit.is_recorded:
        return ()
    count = count_persons(response)
    if not count and shows_pending_changes(response.DESCRIPTOR):
        return ()
    return [
        audit.event(AuditKind.READ, subject, count=subject.person_count if subject.person_count != 1 else count)
        for subject in audit.subjects()
    ]


def _events_of_batch(
    reader: RequestReader, audit: CallAudit, requests: Sequence[Any], items: Sequence[Any]
) -> list[AuditEvent]:
    """Return a row for each item of a batch.

    If the service has recorded its answers itself, return only the rows of refused items.
    """
    if len(items) != len(requests):
        # The answers are in columns (docs/adr/0002), which contain no errors that need a row.
        return [audit.event(AuditKind.READ, subject) for request in requests for subject in reader.read(request)]
    if audit.is_recorded and not any(item.HasField("error") for item in items):
        return []
    events: list[AuditEvent] = []
    for request, item in zip(requests, items, strict=True):
        code = int(item.error.code) if item.HasField("error") else 0
        if code not in _SHOWN and (code or audit.is_recorded):
            continue
        kind = AuditKind.DENIAL if code in _DENIED else AuditKind.READ
        events += [
            audit.event(kind, subject, code=code, count=0 if code else _count_item(item))
            for subject in reader.read(request)
        ]
    return events


def _count_item(item: Any) -> int:
    """Return how many results are in an item's response; 1 for an item that is a decision."""
    return count_persons(item.response) if "response" in item.DESCRIPTOR.fields_by_name else 1


def _events_of_watch(audit: CallAudit, count: int) -> list[AuditEvent]:
    return [
        audit.event(AuditKind.READ, Subject(subject.name, None, subject.purpose, subject.region), count=count)
        for subject in audit.subjects()[:1]
    ]
