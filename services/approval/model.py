"""Pending changes as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.message import Message

from services.domain.instant import Instant
from services.runtime.caller import Caller


class State(IntEnum):
    """How a change stands, as `hutong.approval.v1.PendingChangeState`. LAPSED is never stored."""

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
    """A stored change. `change` is a serialized google.protobuf.Any; `person` is the proposer's `Caller.person`."""

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

    def state_at(self, now: Instant) -> State:
        """Return the state of the change: LAPSED if no caller decided in time."""
        if self.state == State.PENDING and now >= self.expire_time:
            return State.LAPSED
        return State(self.state)

    def is_by(self, caller: Caller) -> bool:
        """Whether a caller is the proposer: the same name, or the same person behind two names."""
        return caller.name == self.proposer or bool(self.person and caller.person == self.person)
