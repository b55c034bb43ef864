"""Completes the reports that processes of earlier versions have stored."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select, update

from services.domain.subject import Pepper
from services.verification.refusals.receipts import receipt_code
from services.verification.refusals.tables import refusals

ADOPTED_AT_ONCE = 1_000
"""The most reports that get their codes in one transaction."""

_C = refusals.c


def name_nodes(connection: Connection, own: str) -> None:
    """Write this node's name into the reports that name no node."""
    older = refusals.c.origin_node == ""
    answered = older & refusals.c.answer_time.is_not(None)
    connection.execute(update(refusals).where(answered).values(answer_node=own))
    named = {"origin_node": own, "assess_node": own, "responsible_node": own}
    connection.execute(update(refusals).where(older).values(named))


def add_codes(connection: Connection, own: str, pepper: Pepper) -> int:
    """Write the codes of receipts into some reports of this node that have none. Return how many were found."""
    lacking = select(_C.uuid).where(_C.code.is_(None), _C.origin_node == own).order_by(_C.uuid).limit(ADOPTED_AT_ONCE)
    uuids = connection.execute(lacking).scalars().all()
    if uuids:
        coded = update(refusals).where(_C.uuid == bindparam("report")).values(code=bindparam("receipt"))
        connection.execute(coded, [{"report": uuid, "receipt": receipt_code(uuid, pepper)} for uuid in uuids])
    return len(uuids)
