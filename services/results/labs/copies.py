"""Laboratories of all nodes, as the nation sends them. Copies of results therefore count as they do at their origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson
from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.engine import Row

from services.results.labs.model import Lab, StandingChange
from services.results.labs.queries import find_labs
from services.results.labs.tables import lab_copies

_copies = lab_copies


def store_copies(connection: Connection, labs: Sequence[Lab], node: str) -> None:
    """Store laboratories that the nation has sent to this `node`.

    What the nation sent earlier of the same laboratories is replaced.
    """
    # If a laboratory was sent twice, the later state counts.
    rows = {
        lab.uscc: {
            "uscc": lab.uscc,
            "display_name": lab.display_name,
            "region": lab.region,
            "authorize_time": lab.authorize_time,
            "create_time": lab.create_time,
            "is_elsewhere": lab.home not in ("", node),
            "home": lab.home,
            "standings": orjson.dumps(
                [[one.standing, one.effective_time, one.reason, one.record_time] for one in lab.changes]
            ),
        }
        for lab in labs
    }
    if rows:
        connection.execute(delete(_copies).where(_copies.c.uscc.in_(list(rows))))
        connection.execute(insert(_copies), list(rows.values()))


def find_known(connection: Connection, usccs: Sequence[str]) -> dict[str, Lab]:
    """Return the laboratories that are registered here or known from the nation, each with the entries that count.

    If another node is a laboratory's home, only the entries from the nation count. Otherwise this node's own entries
    count too.
    """
    own = find_labs(connection, usccs)
    rows = connection.execute(select(_copies).where(_copies.c.uscc.in_(usccs))).all()
    return own | {row.uscc: _merge(row, own) for row in rows}


def _merge(row: Row, own: Mapping[str, Lab]) -> Lab:  # type: ignore[type-arg]
    sent = tuple(StandingChange(*entry) for entry in orjson.loads(row.standings))
    known = own.get(row.uscc)
    if known is None or row.is_elsewhere:
        # The node above sends no contacts. Where both nodes have registered the laboratory, this node has stored one.
        contact = None if known is None else known.contact
        return Lab(row.uscc, row.display_name, row.region, contact, row.authorize_time, row.create_time, sent, row.home)
    others = [change for change in sent if change not in known.changes]
    changes = sorted([*known.changes, *others], key=lambda change: change.record_time)
    return replace(known, changes=tuple(changes))
