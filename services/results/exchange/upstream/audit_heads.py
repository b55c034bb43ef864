"""The heads of this node's audits that are to be sent to the node above: the newest head of each chain."""

from __future__ import annotations

from collections.abc import Sequence

from hutong.audit.v1.audit_head_pb2 import AuditHead
from sqlalchemy import Connection, select, update

from services.results.exchange import tables
from services.storage.upsert import insert_if_absent

_heads = tables.audit_heads_to_send


def keep_heads(connection: Connection, heads: Sequence[AuditHead]) -> None:
    """Keep heads that are to be sent. A head is left out if its seal is earlier than the seal of the kept head."""
    for head in sorted(heads, key=lambda it: (it.service, it.chain)):
        of_chain = (_heads.c.service == head.service, _heads.c.chain == int(head.chain))
        values = {"number": head.number, "head": head.head}
        new = insert_if_absent(connection, _heads).values(service=head.service, chain=int(head.chain), **values)
        if connection.execute(new).rowcount == 0:
            connection.execute(update(_heads).where(*of_chain, _heads.c.number < head.number).values(values))


def read_heads_to_send(connection: Connection) -> list[AuditHead]:
    """Return the kept heads."""
    query = select(_heads.c.service, _heads.c.chain, _heads.c.number, _heads.c.head)
    return [
        AuditHead(service=service, chain=chain, number=number, head=head)
        for service, chain, number, head in connection.execute(query.order_by(_heads.c.service, _heads.c.chain))
    ]
