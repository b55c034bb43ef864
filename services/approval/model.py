"""Pending changes as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.message import Message

from services.domain.instant import Instant
from services.runtime.caller import LOCAL, Caller


class State(IntEnum):
    """The state of a change, as `hutong.approval.v1.PendingChangeState`. LAPSED is never stored."""

    PENDING = 1
    APPROVED = 2
    REJECTED = 3
    LAPSED = 4


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that needs a second approver.

    Attributes:
        method: the RPC that proposes it, such as "hutong.policy.v1.PolicyAdminService/WithdrawPolicy".
        role: the role of the callers that may decide.
        region: the region that the decider's region must contain.
        object: the name of what is changed; empty for a link.
        change: what is proposed, without an identity.
        item_count: how many results would be recalled; 1 for other changes.
    """

    method: str
    role: str
    region: str
    object: str
    change: Message
    item_count: int = 1


@dataclass(frozen=True, slots=True)
class PendingChange:
    """A stored change. `change` is a serialized google.protobuf.Any. `person` is the proposer's `Caller.person`.

    `grant_id` names the emergency grant under which the proposer approved the change alone.
    """

    change_id: str
    method: str
    role: str
    region: str
    object: str
    change: bytes
    item_count: int
    proposer: str
    person: str
    create_time: Instant
    expire_time: Instant
    state: int
    decider: str
    decide_time: Instant | None
    reject_reason: str
    complete_time: Instant | None
    changed_count: int
    consistency_token: str
    grant_id: str | None = None

    def state_at(self, now: Instant) -> State:
        """Return the state of the change at an instant. It is LAPSED if no caller has decided in time."""
        if self.state == State.PENDING and now >= self.expire_time:
            return State.LAPSED
        return State(self.state)

    def is_by(self, caller: Caller) -> bool:
        """Whether a caller may be the proposer, by its name or by the person behind it (`is_same`)."""
        return is_same(caller, self.proposer, self.person)


class GrantState(IntEnum):
    """The state of a grant, as `hutong.approval.v1.EmergencyGrantState`. It is never stored."""

    OPEN = 1
    ENDED = 2
    REVIEWED = 3


@dataclass(frozen=True, slots=True)
class EmergencyGrant:
    """A stored grant. `person` is the holder's `Caller.person`."""

    grant_id: str
    role: str
    holder: str
    person: str
    region: str
    reason: str
    create_time: Instant
    expire_time: Instant
    end_time: Instant | None = None
    ender: str = ""
    approved_count: int = 0
    reviewer: str = ""
    review_time: Instant | None = None
    review_note: str = ""

    def state_at(self, now: Instant) -> GrantState:
        """Return the state of the grant at an instant."""
        if self.review_time is not None:
            return GrantState.REVIEWED
        is_over = self.end_time is not None or now >= self.expire_time
        return GrantState.ENDED if is_over else GrantState.OPEN


def is_same(caller: Caller, name: str, person: str) -> bool:
    """Whether a caller may be the one of this name, or acts for this person. False for a caller that is not identified.

    A name without an officer, such as "supervisors/410000", stands for every officer of it, such as
    "supervisors/410000/li".
    """
    if caller.role in {"", LOCAL}:
        return False
    if caller.name == name or caller.name.startswith(f"{name}/") or name.startswith(f"{caller.name}/"):
        return True
    return bool(person and caller.person == person)
