"""The homes of laboratories in the database of a node with nodes below it. `own` is the region of this node.

The home is stored with its laboratory, because every look-up of the laboratory's standing needs it. It is computed
again when a node registers the laboratory, when this node itself does, and when a node joins.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hutong_texts import english
from sqlalchemy import Connection, bindparam, delete, func, or_, select, true, update

from services.domain.errors import PermissionDenied
from services.domain.instant import Instant
from services.domain.names import format_node
from services.domain.region import NATION, within
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.exchange import tables
from services.results.exchange.homes.find import Home, find_home
from services.results.labs.tables import labs
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit, share_until_commit
from services.storage.columns import in_region

_nodes = tables.nodes
_registrants = tables.lab_homes
_positions = tables.replicated_positions


def find_registrants(connection: Connection, usccs: Collection[str]) -> dict[str, set[str]]:
    """Return the nodes below that have registered each of these laboratories. Laboratories without any are left out."""
    query = select(_registrants.c.uscc, _registrants.c.node).where(_registrants.c.uscc.in_(usccs))
    found: dict[str, set[str]] = {}
    for uscc, node in connection.execute(query) if usccs else ():
        found.setdefault(uscc, set()).add(node)
    return found


def find_listed(connection: Connection, usccs: Collection[str]) -> set[str]:
    """Return those of these laboratories whose missing reports are listed at this node.

    This node has registered these laboratories, and no node below has.
    """
    registered = select(labs.c.uscc).where(labs.c.uscc.in_(usccs), labs.c.source_node == "")
    return set(connection.execute(registered).scalars()).difference(find_registrants(connection, usccs))


def read_homes(connection: Connection, usccs: Collection[str], own: str = NATION) -> dict[str, Home]:
    """Return the home of each of these laboratories, registered or not."""
    nodes = set(connection.execute(select(_nodes.c.node)).scalars())
    listed = select(labs.c.uscc, labs.c.region).where(labs.c.uscc.in_(usccs), labs.c.source_node == "")
    recorded: dict[str, str] = dict(connection.execute(listed).all())
    registrants = find_registrants(connection, usccs)
    return {uscc: find_home(uscc, nodes, recorded.get(uscc), registrants.get(uscc, ()), own) for uscc in usccs}


def is_home(connection: Connection, uscc: str, node: str, own: str = NATION) -> bool:
    """Return whether a node is the firm or provisional home of a laboratory."""
    return read_homes(connection, [uscc], own)[uscc].node == node


def require_own_home(connection: Connection, uscc: str, caller_region: str, own: str = NATION) -> None:
    """Check that a supervisor registers no laboratory that is at home in another region's node below this one.

    Otherwise the supervisor of one city could register a laboratory of another city at the province. It would then be
    at home there, and everything that its own node sends would be set aside. An empty `caller_region` includes every
    region. The lock lets no node join meanwhile.

    Raises:
        PermissionDenied: NOT_PERMITTED.
    """
    if not caller_region:
        return
    share_until_commit(connection, AdvisoryLock.HOMES)
    home = read_homes(connection, [uscc], own)[uscc].node
    if home in {"", own} or within(home, caller_region) or within(caller_region, home):
        return
    raise PermissionDenied(
        "NOT_PERMITTED",
        english("{node} is the home of the laboratory: register it there", node=format_node(home)),
        metadata={"role": "supervisor", "needed": f"supervisor: own region {home}"},
    )


def find_foreign_labs(connection: Connection, usccs: Collection[str], sender: str, own: str = NATION) -> set[str]:
    """Return which of the laboratories have a firm home other than the sender."""
    stored = select(labs.c.uscc).where(labs.c.uscc.in_(usccs), labs.c.home == sender)
    doubtful = set(usccs).difference(connection.execute(stored).scalars()) if usccs else set()
    homes = read_homes(connection, doubtful, own) if doubtful else {}
    return {uscc for uscc, home in homes.items() if home.is_firm and home.node != sender}


def store_homes(connection: Connection, usccs: Collection[str], own: str = NATION) -> set[str]:
    """Compute the homes of registered laboratories and store them. Return the nodes that became a home.

    Once a laboratory has a firm home, other nodes are no longer its registrants.
    """
    homes = read_homes(connection, usccs, own)
    query = select(labs.c.uscc, labs.c.home).where(labs.c.uscc.in_(usccs)).order_by(labs.c.uscc)
    changed = [(uscc, homes[uscc].node) for uscc, stored in connection.execute(query) if stored != homes[uscc].node]
    if changed:
        connection.execute(
            update(labs).where(labs.c.uscc == bindparam("lab")).values(home=bindparam("node")),
            [{"lab": uscc, "node": node} for uscc, node in changed],
        )
    for uscc, home in sorted(homes.items()):
        if home.is_firm:
            others = (_registrants.c.uscc == uscc, _registrants.c.node != home.node)
            connection.execute(delete(_registrants).where(*others))
    return {node for _, node in changed if node}


def note_joined(connection: Connection, node: str, own: str = NATION, *, is_first: bool = False) -> None:
    """Compute the homes of the laboratories in the region of a node that has joined; of all, if it is the first node.

    The lock waits for concurrent registrations. A registration is therefore either seen here, or sees the node that
    joins.
    """
    lock_until_commit(connection, AdvisoryLock.HOMES)
    code, region = func.substr(labs.c.uscc, 3, 6), labs.c.region
    here = true() if is_first else or_(in_region(code, node), in_region(region, node))
    usccs = list(connection.execute(select(labs.c.uscc).where(here)).scalars())
    for start in range(0, len(usccs), 1_000):
        store_homes(connection, usccs[start : start + 1_000], own)


def record_homes(connection: Connection, changes: Sequence[LoggedChange], _now: Instant, own: str = NATION) -> None:
    """Compute the home of a laboratory that this node itself has registered. The change log calls this.

    The new home may have sent reports that were set aside. This node therefore forgets how much of the new home's log
    it has received, and the new home sends everything again.
    """
    usccs = {uscc for change in changes if change.kind is ChangeKind.LABS and change.is_new for uscc, _ in change.names}
    if usccs:
        nodes = store_homes(connection, usccs, own)
        connection.execute(delete(_positions).where(_positions.c.node.in_(nodes)))
