"""A laboratory and the history of its standing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from hutong.results.v1 import lab_pb2

from services.domain.instant import Instant

if TYPE_CHECKING:
    Standing: TypeAlias = lab_pb2.LabStanding.ValueType

STANDING_UNKNOWN = lab_pb2.LAB_STANDING_UNSPECIFIED

AUTHORIZED = lab_pb2.LAB_STANDING_AUTHORIZED

NOT_AUTHORIZED = frozenset({lab_pb2.LAB_STANDING_SUSPENDED, lab_pb2.LAB_STANDING_REVOKED})
"""Standings under which a report does not count. STANDING_UNKNOWN is not among them, because it says nothing against a
laboratory."""

WARNED = lab_pb2.LAB_STANDING_WARNED

MAY_REPORT = frozenset({AUTHORIZED, WARNED})
"""The standings under which a laboratory may issue reports."""


@dataclass(frozen=True, slots=True)
class StandingChange:
    """One entry of a laboratory's history. If `effective_time` is None, the standing holds from the beginning.

    Attributes:
        actor: the name of the caller that recorded the entry; None if it is not known. Comparisons of entries ignore
            this name, because other nodes do not know it.
    """

    standing: Standing
    effective_time: Instant | None
    reason: str
    record_time: Instant
    actor: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key with which a laboratory signs reports.

    Attributes:
        public_key: the key in DER (SubjectPublicKeyInfo).
        revoke_time: reports dated at or after this instant do not count as signed; None while the key is good.
        actor: the caller that recorded the key or its revocation last; None if it is not known.
    """

    public_key: bytes
    create_time: Instant
    revoke_time: Instant | None = None
    actor: str | None = field(default=None, compare=False)


MAX_SIGNING_KEYS = 20
"""The most keys of one laboratory. Each answer about a signed report contains all of them. A laboratory usually gets
one key a year."""


def merge_keys(*known: Iterable[SigningKey]) -> tuple[SigningKey, ...]:
    """Return the keys of several sources, oldest first. Each key appears once, with its earliest revocation."""
    merged: dict[bytes, SigningKey] = {}
    for key in (key for keys in known for key in keys):
        one = merged.setdefault(key.public_key, key)
        if key.revoke_time is not None and (one.revoke_time is None or key.revoke_time < one.revoke_time):
            merged[key.public_key] = replace(one, revoke_time=key.revoke_time, actor=key.actor)
    return tuple(sorted(merged.values(), key=lambda key: (key.create_time, key.public_key)))


@dataclass(frozen=True, slots=True)
class LabQuery:
    """The filter of a listing of laboratories. Empty fields match everything.

    Attributes:
        region: laboratories in this region and below.
        normal_name: the registered name in normal form.
        normal_prefix: the beginning of the registered name in normal form.
    """

    region: str = ""
    normal_name: str = ""
    normal_prefix: str = ""


@dataclass(frozen=True, slots=True)
class Lab:
    """A laboratory with its history in the order in which it was recorded.

    Attributes:
        contact: whom to ask when a report is missing; empty if there is nobody. None if it was not stated by the node
            that sent the laboratory.
        home: the region of the laboratory's home, as the nation has decided; empty where it is not known.
    """

    uscc: str
    display_name: str
    region: str
    contact: str | None
    authorize_time: Instant | None
    create_time: Instant
    changes: tuple[StandingChange, ...]
    home: str = ""
    signing_keys: tuple[SigningKey, ...] = ()

    def standing_at(self, instant: Instant) -> Standing:
        """Return the standing at an instant, from the entry with the latest effective time up to that instant.

        If several entries have that time, the entry that was recorded last counts. Before the first effective time the
        standing is REVOKED, because the laboratory was not authorised to issue reports then. Without any entry the
        standing is unknown. The nation may have no entry of a laboratory, because it leaves out the entries of nodes
        that are not the laboratory's home.
        """
        if not self.changes:
            return STANDING_UNKNOWN
        found: Standing = lab_pb2.LAB_STANDING_REVOKED
        best: Instant | None = None
        for change in self.changes:
            if change.effective_time is None:
                if best is None:
                    found = change.standing
            elif change.effective_time <= instant and (best is None or change.effective_time >= best):
                found, best = change.standing, change.effective_time
        return found
