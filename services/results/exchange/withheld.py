"""Changes of kinds that a node of the previous release does not know, and that are therefore not sent to it.

A node states its capabilities at the start of each stream. A change of a kind that the node does not know is left out.
The store remembers the kind before the stream goes on. Once the node states the capability, it gets all stored changes
of the kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hutong.type.v1 import capability_pb2
from sqlalchemy import Connection, delete

from services.results.changelog.model import ChangeKind
from services.results.exchange.tables import withheld_kinds
from services.storage.upsert import insert_if_absent

NEEDED: Mapping[ChangeKind, int] = {
    ChangeKind.MISSING_REPORT_ANSWERS: capability_pb2.CAPABILITY_LAB_ANSWERS,
    ChangeKind.LISTED_MISSING_REPORTS: capability_pb2.CAPABILITY_LISTED_MISSING_REPORTS,
}
"""The capability that a node needs to be sent a kind of change. Every release knows the kinds that are not in this
table."""


def unknown_kinds(told: Iterable[int]) -> frozenset[ChangeKind]:
    """Return the kinds of changes that a node with these capabilities does not know."""
    known = frozenset(told)
    return frozenset(kind for kind, capability in NEEDED.items() if capability not in known)


def note_withheld(connection: Connection, node: str, kinds: Iterable[ChangeKind]) -> None:
    """Remember that changes of these kinds are not sent to a node."""
    rows = [{"node": node, "kind": int(kind)} for kind in sorted(kinds)]
    connection.execute(insert_if_absent(connection, withheld_kinds), rows)


def take_withheld(connection: Connection, node: str, unknown: Iterable[ChangeKind]) -> set[ChangeKind]:
    """Return the kinds that were withheld from a node and that it knows now. The kinds are no longer remembered.

    In the same transaction, the caller arranges that all stored changes of these kinds are sent.
    """
    table = withheld_kinds
    known = sorted(NEEDED.keys() - set(unknown))
    taken = delete(table).where(table.c.node == node, table.c.kind.in_(known)).returning(table.c.kind)
    return {ChangeKind(kind) for kind in connection.execute(taken).scalars()}
