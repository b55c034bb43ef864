"""Changes that a node of the release before does not know, and that are therefore not sent to it.

A node tells its capabilities at the start of each stream. A change that it does not know is left out, and the store
remembers that before the stream goes on. Once the node tells the capability, it gets all that is stored of this kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hutong.type.v1 import capability_pb2
from sqlalchemy import Connection, delete

from services.results.changelog.model import ChangeKind
from services.results.exchange.tables import withheld_kinds
from services.storage.upsert import insert_if_absent

NEEDED: Mapping[ChangeKind, int] = {ChangeKind.MISSING_REPORT_ANSWERS: capability_pb2.CAPABILITY_LAB_ANSWERS}
"""The capability that a node needs to be sent a kind of change. Every release knows the other kinds."""


def unknown_kinds(told: Iterable[int]) -> frozenset[ChangeKind]:
    """Return the kinds of changes that a node with these capabilities does not know."""
    known = frozenset(told)
    return frozenset(kind for kind, capability in NEEDED.items() if capability not in known)


def note_withheld(connection: Connection, node: str, kinds: Iterable[ChangeKind]) -> None:
    """Remember that changes of these kinds are not sent to a node."""
    rows = [{"node": node, "kind": int(kind)} for kind in sorted(kinds)]
    connection.execute(insert_if_absent(connection, withheld_kinds), rows)


def take_withheld(connection: Connection, node: str, unknown: Iterable[ChangeKind]) -> set[ChangeKind]:
    """Return the kinds that were withheld from a node and that it knows now. They are no longer remembered.

    The caller sends everything that is stored of these kinds, in the same transaction.
    """
    table = withheld_kinds
    known = sorted(NEEDED.keys() - set(unknown))
    taken = delete(table).where(table.c.node == node, table.c.kind.in_(known)).returning(table.c.kind)
    return {ChangeKind(kind) for kind in connection.execute(taken).scalars()}
