"""Marks the adverse subjects that were stored before the first node joined below this one. The work is done in steps.

The transaction in which the node joins begins the marking (`subscribers.begin_marking`). From then on each commit marks
its own adverse subjects. A step marks the adverse subjects of the next stored reports. It names these subjects to the
nodes below, as the commit of a positive does. A node is therefore told of a subject whether the node's first result of
the subject arrives before the step or after it. A step commits its marks together with its position, so a killed
process neither repeats nor skips a mark.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, delete, or_, select, tuple_, update

from services.domain.errors import HutongError
from services.domain.instant import Instant
from services.domain.names import ANNOUNCED_PREFIX
from services.results.exchange import tables
from services.results.exchange.downstream.notifications.notifications import name_stored
from services.results.records.by_key import KEYS_AT_ONCE
from services.results.records.model import ACTIVE, ADVERSE, ReportName
from services.results.records.tables import report_keys, results
from services.results.timing import ResultsTiming
from services.runtime.clock import Clock
from services.storage.engine import Database

REPORTS_AT_ONCE = 5_000
"""The most reports that one step reads. If all of them were positive, the lock of subscriptions would be held for
about a second."""

_nodes = tables.nodes
_positions = tables.marking_positions
_keys = report_keys
_results = results
_log = structlog.get_logger(__name__)


class Step(NamedTuple):
    """The adverse subjects among the next reports, and the position after these reports.

    `after` is the position before the step. `last` is None if no reports are left.
    """

    after: ReportName
    last: ReportName | None
    subject_keys: Collection[bytes]


class StoredPositives:
    """Marks stored adverse subjects. The processes of a node take turns, step by step.

    `own` is the region of this node.
    """

    def __init__(
        self, database: Database, clock: Clock, timing: ResultsTiming, own: str, reports_at_once: int = REPORTS_AT_ONCE
    ) -> None:
        self._database = database
        self._clock = clock
        self._timing = timing
        self._own = own
        self._reports_at_once = reports_at_once

    async def run(self) -> None:
        """Wait until the first node has joined, then mark all stored adverse subjects. A background job."""
        while True:
            try:
                if await self.mark_next():
                    await asyncio.sleep(self._timing.marking_pause)
                    continue
                if await self._database.read(_has_ended):
                    return
            except HutongError as error:
                _log.warning("stored positives are not marked now", reason=error.reason)
            await asyncio.sleep(self._timing.marking_poll)

    async def mark_next(self) -> bool:
        """Run the next step. Return False if the marking has not begun or has ended."""
        step = await self._database.read(read_step, self._reports_at_once)
        if step is None:
            return False
        await self._database.write(mark_step, step, self._clock.now(), self._own)
        if step.last is None:
            _log.info("all stored positives are marked for the nodes below")
        return True


def _has_ended(connection: Connection) -> bool:
    """Return whether a node has joined and all stored adverse subjects are marked.

    The first node and the position are stored by one transaction. Reading the nodes first therefore never misses a
    position that comes with a node.
    """
    if connection.execute(select(_nodes.c.node).limit(1)).first() is None:
        return False
    return connection.execute(select(_positions.c.marking)).first() is None


def read_step(connection: Connection, reports_at_once: int) -> Step | None:
    """Return the next step; None if the marking has not begun or has ended."""
    row = connection.execute(select(_positions.c.lab, _positions.c.report_number)).first()
    if row is None:
        return None
    after: ReportName = (row.lab, row.report_number)
    name = tuple_(_keys.c.lab, _keys.c.report_number)
    rest = select(_keys.c.lab, _keys.c.report_number).where(name > tuple_(*after))
    found = connection.execute(
        rest.order_by(_keys.c.lab, _keys.c.report_number).offset(reports_at_once - 1).limit(1)
    ).first()
    last: ReportName | None = None if found is None else (found.lab, found.report_number)
    conditions = [name > tuple_(*after), _keys.c.outcome.in_(sorted(ADVERSE))]
    if last is not None:
        conditions.append(name <= tuple_(*last))
    adverse = sorted(set(connection.execute(select(_keys.c.subject_key).where(*conditions)).scalars()))
    # The key of a report does not state its item, and positives of some items are named to no node. The results are
    # therefore read.
    announced = or_(_results.c.item == "", _results.c.item.startswith(ANNOUNCED_PREFIX, autoescape=True))
    subject_keys: set[bytes] = set()
    for start in range(0, len(adverse), KEYS_AT_ONCE):
        of_keys = _results.c.subject_key.in_(adverse[start : start + KEYS_AT_ONCE])
        is_adverse = (_results.c.state == ACTIVE, _results.c.outcome.in_(sorted(ADVERSE)), announced)
        subject_keys.update(connection.execute(select(_results.c.subject_key).where(of_keys, *is_adverse)).scalars())
    return Step(after, last, subject_keys)


def mark_step(connection: Connection, step: Step, now: Instant, own: str) -> None:
    """Mark the subjects of a step, unless another process has done the step.

    The position's row is locked before anything else. No other transaction locks this row while it holds another lock.
    """
    here = (_positions.c.lab == step.after[0], _positions.c.report_number == step.after[1])
    if step.last is None:
        moved = connection.execute(delete(_positions).where(*here))
    else:
        moved = connection.execute(update(_positions).where(*here).values(lab=step.last[0], report_number=step.last[1]))
    if moved.rowcount and step.subject_keys:
        name_stored(connection, step.subject_keys, now, own)
