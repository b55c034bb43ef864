"""The audit of the call under way: what its rows say, and how a transaction adds the row of its change.

docs/audit.md §1 lists what is recorded. The rows are stored by the trail of the service (`services.audit.trail`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple, Protocol

from services.domain.instant import MINUTE, Instant
from services.runtime.caller import Caller

ON_BEHALF_OF = "hutong-on-behalf-of"
"""The metadata key with the name of the caller for whom Verification calls another service of its node."""


MAX_PEER = 100
"""How many characters of a peer are stored. The path of a unix socket may be longer."""


class AuditKind(IntEnum):
    """What a row records, as `hutong.audit.v1.AuditEventKind`."""

    READ = 1
    CHANGE = 2
    DENIAL = 3


_READ = int(AuditKind.READ)
EMERGENCY = "EMERGENCY"
"""The outcome of every change that was made under an emergency grant."""


class AuditEvent(NamedTuple):
    """A row of the audit without its number. The contract describes each field (`hutong.audit.v1.AuditEvent`).

    `subject_tag` is the keyed hash of the person and the day; None if the event is about no person or about many.
    `code` is the number of a gRPC status.
    """

    kind: int
    time: Instant
    request_id: str
    role: str
    caller: str
    on_behalf_of: str
    peer: str
    method: str
    purpose: int
    region: str
    object: str
    subject_tag: bytes | None
    code: int
    outcome: str
    item_count: int
    case_id: str = ""


_new_event = partial(tuple.__new__, AuditEvent)
"""Makes an AuditEvent from a tuple of all its fields. Unlike the constructor, it does no checks."""


class Subject(NamedTuple):
    """What a request, or an item of a batch, is about. A field is empty if the request does not state it.

    Attributes:
        name: a resource name as the caller sent it.
        key: the subject key of the document in the request.
        person_count: the number of persons that the request names by their keys.
    """

    name: str = ""
    key: bytes | None = None
    purpose: int = 0
    region: str = ""
    person_count: int = 1


class AuditTrail(Protocol):
    """The audit of one service. `region` is the region of the service's node."""

    region: str

    def now(self) -> Instant:
        """Return the current instant."""
        ...

    def tag_at(self, time: Instant) -> Callable[[bytes], bytes]:
        """Return a function that makes keyed hashes of persons.

        It hashes a person's subject key and the day of an instant. The function must be used only for the day of that
        instant.
        """
        ...

    def hide(self, text: str) -> str:
        """Return the keyed hash of a text as hexadecimal."""
        ...

    def name_object(self, name: str) -> str:
        """Return a resource name as the audit stores it."""
        ...

    def insert(self, connection: Any, events: Sequence[AuditEvent]) -> None:
        """Insert the rows of a change inside its transaction, as its last statement."""
        ...

    async def record(self, events: Sequence[AuditEvent], also: Callable[[Any], None] | None = None) -> None:
        """Store rows of reads and denials. The rows are durable when this returns. Raises Unavailable.

        `also` is called with the connection and takes part in the transaction.
        """
        ...


class CallAudit:
    """The audit of one call.

    Attributes:
        is_recorded: whether the call has stored rows itself. If so, the layer Audit adds no row for its answer.
        is_emergency: whether the call makes a change that its proposer approves under an emergency grant.
        is_hidden: whether the object belongs to another caller, so that the answer says that it does not exist.
        subject_keys: the keys of the persons that the answer is about, if the request does not name them by a document.
        case_id: the case that the call serves; empty for none.
    """

    __slots__ = (
        "_caller",
        "_method",
        "_on_behalf_of",
        "_request_id",
        "_stated",
        "_subjects",
        "_subjects_of_question",
        "case_id",
        "is_emergency",
        "is_hidden",
        "is_recorded",
        "subject_keys",
        "trail",
    )

    def __init__(
        self,
        trail: AuditTrail,
        method: str,
        request_id: str,
        caller: Caller,
        on_behalf_of: str,
        subjects: Callable[[], Sequence[Subject]],
        subjects_of_question: Callable[[Any], Sequence[Subject]] = lambda _: [Subject()],
        case_id: str = "",
    ) -> None:
        self.trail = trail
        self.is_recorded = False
        self.is_emergency = False
        self.is_hidden = False
        self.subject_keys: Sequence[bytes] = ()
        self._method = method
        self._request_id = request_id
        self._caller = caller
        # The fields that all rows of the call's reads have in common.
        self._stated: tuple[str, str, str, str, str, str] | None = None
        self._on_behalf_of = on_behalf_of
        self._subjects = subjects
        self._subjects_of_question = subjects_of_question
        self.case_id = case_id

    def act_for(self, proposer: str) -> None:
        """Name in all further rows the proposer of the change that this call approves."""
        self._on_behalf_of = proposer

    @property
    def is_inner(self) -> bool:
        """Whether Verification makes the call for another caller.

        Verification then records that caller's read itself.
        """
        return bool(self._on_behalf_of)

    def subjects(self) -> Sequence[Subject]:
        """Return what the request is about: one entry for each document in it, but at least one entry."""
        found = self._subjects()
        if self.subject_keys:
            return [found[0]._replace(key=key) for key in self.subject_keys]
        return found

    def event(
        self, kind: AuditKind, subject: Subject, *, code: int = 0, outcome: str = "", count: int = 1
    ) -> AuditEvent:
        """Return the row of one subject."""
        trail, caller = self.trail, self._caller
        time = trail.now()
        name, key, purpose, region, _ = subject
        if kind == AuditKind.CHANGE:
            stated = self._state(self._request_id)
            if self.is_emergency and outcome in {"", "APPROVED"}:
                outcome = EMERGENCY
        else:
            # The time of a read could reveal where a person is, so its row states the time only to the minute.
            time -= time % MINUTE
            stated = self.state_read()
        return AuditEvent(
            int(kind),
            time,
            *stated,
            purpose,
            region or caller.region or trail.region,
            trail.name_object(name) if name else "",
            None if key is None else trail.tag_at(time)(key),
            code,
            outcome,
            count,
            self.case_id,
        )

    async def record_refusal(self, question: Any, code: int) -> None:
        """Store the rows of a refused question of the call's stream. Raises Unavailable."""
        about = self._subjects_of_question(question)
        await self.trail.record([self.event(AuditKind.DENIAL, one, code=code, count=0) for one in about])

    def state_read(self) -> tuple[str, str, str, str, str, str]:
        """Return the fields that all rows of the call's reads have in common."""
        stated = self._stated
        if stated is None:
            # The request id is hidden, because its UUID may contain the time of the call to the millisecond.
            stated = self._stated = self._state(self.trail.hide(self._request_id))
        return stated

    def _state(self, request_id: str) -> tuple[str, str, str, str, str, str]:
        caller = self._caller
        peer = caller.peer if caller.peer.isprintable() and "\\" not in caller.peer else ""
        # A caller that is no longer accepted has no name, but its certificate still has one.
        name = caller.name or caller.certificate_name
        return request_id, caller.role, name, self._on_behalf_of, peer[:MAX_PEER], self._method


class DecisionRead(NamedTuple):
    """A decision about one person, as the audit records it.

    Attributes:
        audit: the audit of the call.
        subject_key: the key of the person.
    """

    audit: CallAudit
    subject_key: bytes
    purpose: int
    region: str
    outcome: str
    time: Instant


def rows_of(reads: Sequence[DecisionRead]) -> list[AuditEvent]:
    """Return the rows of several decisions. `CallAudit.event` makes the same rows, but takes longer.

    All reads have the same trail.
    """
    tag_at = reads[0].audit.trail.tag_at
    rows: list[AuditEvent] = []
    minute, of = -1, None
    stated: tuple[str, ...] = ()
    case = ""
    for audit, key, purpose, region, outcome, time in reads:
        if time - time % MINUTE != minute:
            minute = time - time % MINUTE
            tag = tag_at(minute)
        if audit is not of:
            of, stated, case = audit, audit.state_read(), audit.case_id
        rows.append(_new_event((_READ, minute, *stated, purpose, region, "", tag(key), 0, outcome, 1, case)))
    return rows


current_audit: ContextVar[CallAudit | None] = ContextVar("current_audit", default=None)
"""The audit of the call that the running task serves. None outside a call, and in work that several calls share."""


def record_change(
    connection: Any,
    name: str = "",
    *,
    subject_keys: Sequence[bytes] = (),
    region: str = "",
    count: int = 1,
    outcome: str = "",
) -> None:
    """Store the rows of a change in its transaction, one for each subject. Call it after all other statements.

    Values that are not given are taken from the request. Outside a call nothing is stored.
    """
    record_changes(connection, name, subject_keys=subject_keys, region=region, counts=[count], outcome=outcome)


def record_changes(
    connection: Any,
    name: str = "",
    *,
    subject_keys: Sequence[bytes] = (),
    region: str = "",
    counts: Sequence[int],
    outcome: str = "",
) -> None:
    """Do as `record_change` does for several changes in one transaction. Each has a count of its own."""
    audit = current_audit.get()
    if audit is None:
        return
    stated = audit.subjects()
    if subject_keys:
        stated = [stated[0]._replace(key=key) for key in subject_keys]
    events = [
        audit.event(
            AuditKind.CHANGE,
            one._replace(name=name or one.name, region=region or one.region),
            count=count,
            outcome=outcome,
        )
        for count in counts
        for one in stated
    ]
    audit.trail.insert(connection, events)
    audit.is_recorded = True


def record_request(connection: Any) -> None:
    """Store the row of a change as the request states it, unless a row of the change is stored already."""
    audit = current_audit.get()
    if audit is not None and not audit.is_recorded:
        record_change(connection)


def note_subjects(subject_keys: Sequence[bytes]) -> None:
    """Record the persons that the answer of the current call is about. Needed if the request names no document."""
    audit = current_audit.get()
    if audit is not None:
        audit.subject_keys = subject_keys


def note_hidden() -> None:
    """Record that the answer denies the existence of the object, because it belongs to another caller."""
    audit = current_audit.get()
    if audit is not None:
        audit.is_hidden = True
