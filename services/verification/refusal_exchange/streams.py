"""The newest stream of each link and the numbers of its frames, in the database."""

from __future__ import annotations

import secrets

from hutong_texts import english
from sqlalchemy import Connection, select, update

from services.domain.errors import Unavailable
from services.domain.names import format_node
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.verification.refusal_exchange.numbers import FrameNumbers
from services.verification.refusals.tables import refusal_links

_STREAM_BITS = 63
_links = refusal_links.c


def require_newest(connection: Connection, node: str, stream: int) -> None:
    """Require that a stream is the newest one with a node, until the transaction ends.

    One of the two nodes may have been restored since an earlier stream.

    Raises:
        Unavailable: STREAM_REPLACED, the nodes have begun another stream.
    """
    newest = connection.execute(select(_links.stream).where(_links.node == node).with_for_update()).scalar()
    if newest != stream:
        text = english("the node has begun another replication")
        raise Unavailable("STREAM_REPLACED", text, metadata={"node": format_node(node)})


def note_sent(connection: Connection, node: str, stream: int, number: int) -> None:
    """Store the number of a frame before the frame is sent on a stream. Raises the errors of `require_newest`."""
    require_newest(connection, node, stream)
    connection.execute(update(refusal_links).where(_links.node == node).values(sent_number=number))


def ask_anew(connection: Connection) -> FrameNumbers:
    """Return the numbers of the link to the node above, and end its earlier streams."""
    lock_until_commit(connection, AdvisoryLock.REFUSAL_LINKS)
    node = connection.execute(select(_links.node).where(_links.is_above)).scalar()
    if node is None:
        return FrameNumbers()
    renew_stream(connection, node)
    return read_numbers(connection, node) or FrameNumbers()


def renew_stream(connection: Connection, node: str) -> int:
    """Replace the streams of a link. Return the number of the new one, as the database has it."""
    connection.execute(update(refusal_links).where(_links.node == node).values(stream=secrets.randbits(_STREAM_BITS)))
    return int(connection.execute(select(_links.stream).where(_links.node == node)).scalar_one())


def read_numbers(connection: Connection, node: str) -> FrameNumbers | None:
    """Return the numbers of a link; None if there is no link. The row of the link is locked."""
    query = select(_links.acknowledged_number, _links.received_number, _links.sent_number).where(_links.node == node)
    row = connection.execute(query.with_for_update()).one_or_none()
    return None if row is None else FrameNumbers(row.acknowledged_number, row.received_number, row.sent_number)


def columns_of(numbers: FrameNumbers) -> dict[str, int]:
    """Return the columns of a link that hold its numbers."""
    return {
        "acknowledged_number": numbers.acknowledged,
        "received_number": numbers.received,
        "sent_number": numbers.sent,
    }
