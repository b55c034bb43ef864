"""Authority over content. A node sets aside changes that a node below it may not make.

A node may change the records of a laboratory if it is the home of the laboratory, or if the home is a node below it. If
the home is another node, the change is not stored, but is counted for the sender. The rest of the batch is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from services.results.exchange.arrival import Arrival, FormedTubes
from services.results.exchange.homes.register import find_foreign_labs
from services.results.exchange.model import Change, Replica
from services.results.labs.model import Lab

_log = structlog.get_logger(__name__)


class Authorized(NamedTuple):
    """The part of a batch that its sender may send, and the number of changes that are set aside."""

    changes: Sequence[Change]
    tubes: Sequence[FormedTubes]
    not_its_own: int


def set_aside_foreign(
    connection: Connection, changes: Sequence[Change], tubes: Sequence[FormedTubes], arrival: Arrival
) -> Authorized:
    """Set aside registrations, standings and results of laboratories whose home is another node than the sender."""
    usccs = {formed.tubes.lab for formed in tubes} | {uscc for change in changes if (uscc := _lab_of(change))}
    foreign = find_foreign_labs(connection, usccs, arrival.sender, arrival.node)
    if not foreign:
        return Authorized(changes, tubes, 0)
    kept = [change for change in changes if _lab_of(change) not in foreign]
    results = sum(len(formed.tubes.report_numbers) for formed in tubes if formed.tubes.lab in foreign)
    results += sum(isinstance(change, Replica) and change.result.lab in foreign for change in changes)
    labs = sum(isinstance(change, Lab) and change.uscc in foreign for change in changes)
    _log.warning(
        "a node sent changes of laboratories at home in another node; they were set aside",
        node=arrival.sender,
        set_aside="NOT_ITS_OWN",
        results=results,
        registrations=labs,
    )
    return Authorized(kept, [formed for formed in tubes if formed.tubes.lab not in foreign], results + labs)


def _lab_of(change: Change) -> str:
    """Return the laboratory of a result or a registration, empty for other changes."""
    if isinstance(change, Replica):
        return change.result.lab
    return change.uscc if isinstance(change, Lab) else ""
