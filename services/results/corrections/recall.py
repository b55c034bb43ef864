"""Recalls from end to end: their steps, and how far they have come.

With a request id the progress is kept in the store, in the transaction of each step: calls of the same request, at once
or after a break, go on with it together, and each is told what the request took back in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.struct_pb2 import ListValue
from sqlalchemy import Connection, select, update

from services.domain.instant import Instant
from services.results import tables
from services.results.changelog.log import append_entry
from services.results.exchange.downstream.notices import give_notices_of
from services.results.records.model import Recall
from services.results.records.revisions import recall_step
from services.results.store import Once
from services.storage.idempotency import answer_once

_METHOD = "RecallResults progress"
_memory = tables.requests


@dataclass(frozen=True, slots=True)
class Progress:
    """Reports taken back so far, and the report number to go on after; None at the end."""

    count: int = 0
    after: str | None = ""


def pretend_step(connection: Connection, recall: Recall, progress: Progress, now: Instant, node: str) -> Progress:
    """Count what the next step would take back."""
    return _step(connection, recall, progress, now, node, pretend=True)[1]


def take_step(
    connection: Connection, recall: Recall, once: Once[int, Any], progress: Progress, secret: bytes, node: str
) -> Progress:
    """Take the next step: from where the request stands when it has an id, else from where the caller does.

    Raises:
        InvalidArgument: REQUEST_ID_REUSED, the id came before with other content.
    """
    request_id: str = once.request.request_id  # type: ignore[attr-defined]
    if request_id:
        progress = _hold_progress(connection, once, request_id, secret)
    if progress.after is None:
        return progress
    found, progress = _step(connection, recall, progress, once.now, node, pretend=False)
    if request_id:
        _keep_progress(connection, request_id, progress)
    give_notices_of(connection, recall.lab, found, once.now)
    append_entry(connection, recall.lab, found, once.now)
    return progress


def _step(
    connection: Connection, recall: Recall, progress: Progress, now: Instant, node: str, *, pretend: bool
) -> tuple[list[tuple[str, int]], Progress]:
    assert progress.after is not None
    found, after = recall_step(connection, recall, progress.after, now, pretend=pretend, node=node)
    return found, Progress(progress.count + len(found), after)


def _hold_progress(connection: Connection, once: Once[int, Any], request_id: str, secret: bytes) -> Progress:
    """How far the request has come, held until the commit: calls of it take turns."""
    answer_once(
        connection,
        _memory,
        _METHOD,
        request_id,
        once.request,
        once.now,
        lambda: _encode(Progress()),
        response_type=ListValue,
        secret=secret,
    )
    held = select(_memory.c.response).where(*_of(request_id)).with_for_update()
    count, after = ListValue.FromString(connection.execute(held).scalar_one())
    return Progress(int(cast(float, count)), cast("str | None", after))


def _keep_progress(connection: Connection, request_id: str, progress: Progress) -> None:
    stated = update(_memory).where(*_of(request_id)).values(response=_encode(progress).SerializeToString())
    connection.execute(stated)


def _of(request_id: str) -> tuple[Any, Any]:
    return _memory.c.method == _METHOD, _memory.c.request_id == request_id


def _encode(progress: Progress) -> ListValue:
    encoded = ListValue()
    encoded.extend([progress.count, progress.after])
    return encoded
