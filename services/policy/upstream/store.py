"""What the nation has published, as a province keeps it: plain functions over a connection.

Every process of a province takes in the same things, in any order and as often as it is told them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hutong.policy.v1 import policy_pb2
from sqlalchemy import Connection, insert, select, update

from services.domain.instant import Instant
from services.domain.region import NATION
from services.policy import tables
from services.policy.changes import append_change, policy_row, take_turn
from services.policy.model import Revision
from services.storage.upsert import insert_unless_there

_policies = tables.policies
_places = tables.upstream_places


class UpstreamPlace(NamedTuple):
    """Up to where the nation's policies have come.

    `cursor` is the nation's, or empty where everything is to be told again; `as_of_time` is an instant by its clock.
    """

    cursor: str
    as_of_time: Instant


class Received(NamedTuple):
    """A revision as the nation tells it, and the statement it was made from."""

    revision: Revision
    statement: policy_pb2.Policy


def read_place(connection: Connection) -> UpstreamPlace | None:
    """Up to where the nation's policies have come; None before its first word."""
    row = connection.execute(select(_places.c.cursor, _places.c.as_of_time)).first()
    return None if row is None else UpstreamPlace(row.cursor, row.as_of_time)


def take_in(
    connection: Connection, revisions: Sequence[Received], place: UpstreamPlace | None, now: Instant
) -> list[str]:
    """Store revisions as they stand at the nation, and up to where they go.

    What is known of a revision stays. The names of those of which the nation tells something else are returned; the
    place then loses its cursor, so that whoever begins from it compares everything again.
    """
    if revisions:
        take_turn(connection)
    differing = [one.revision.name for one in revisions if not _take_in(connection, one, now)]
    if place is not None:
        _keep(connection, place._replace(cursor="") if differing else place)
    return differing


def _take_in(connection: Connection, received: Received, now: Instant) -> bool:
    revision = received.revision
    its = (
        _policies.c.region == revision.region,
        _policies.c.policy_id == revision.policy_id,
        _policies.c.revision == revision.revision,
    )
    known = connection.execute(select(_policies.c.content_hash, _policies.c.withdraw_time).where(*its)).first()
    if known is None:
        connection.execute(insert(_policies).values(policy_row(revision, received.statement)))
    elif known.content_hash != revision.content_hash:
        return False
    elif known.withdraw_time is not None:
        return revision.withdraw_time is not None
    elif revision.withdraw_time is None:
        return True
    else:
        withdrawal = {"withdraw_time": revision.withdraw_time, "withdraw_reason": revision.withdraw_reason}
        connection.execute(update(_policies).where(*its).values(withdrawal))
    append_change(connection, revision, now)
    return True


def _keep(connection: Connection, place: UpstreamPlace) -> None:
    if connection.execute(update(_places).values(place._asdict())).rowcount == 0:
        # Another process may be as far at this instant: its place is as good.
        connection.execute(insert_unless_there(connection, _places).values(region=NATION, **place._asdict()))
