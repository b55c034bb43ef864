"""The nation's end of what it tells its nodes: FollowSubjects and WatchNotices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import structlog
from hutong.results.v1.exchange_pb2 import ReplicatedChange
from hutong.results.v1.exchange_service_pb2 import (
    FollowSubjectsRequest,
    FollowSubjectsResponse,
    WatchNoticesRequest,
    WatchNoticesResponse,
)

from services.domain.errors import FailedPrecondition, HutongError, InvalidArgument, ResourceExhausted, Unavailable
from services.domain.instant import from_timestamp, set_timestamp
from services.domain.names import format_node, parse_node
from services.domain.subject import Pepper
from services.results.exchange.convert import fill_change, fill_link, fill_replica
from services.results.exchange.downstream.notices import Notice, newest_numbers, open_watch, read_notices
from services.results.exchange.downstream.subscriptions import (
    find_ties,
    find_under_way,
    read_subscribed,
    subscribe_node,
)
from services.results.exchange.model import NoticePosition
from services.results.records.pepper_check import pepper_mark
from services.runtime.clock import Clock
from services.runtime.limits import MAX_MESSAGE_BYTES
from services.runtime.server.service import Drain
from services.storage.engine import Database

MAX_CHANGES = 1_000
"""Changes in one message, as in a replicated batch: some 300 KiB."""
MAX_WATCHES = 256
"""Watches at once in one process: several for each province."""
POLL_SECONDS = 0.1
"""Between two looks for new notices, one for all watchers together: how late one may be told."""
HEARTBEAT_SECONDS = 3.0
"""The longest silence; five are promised."""
_GLANCE_SECONDS = 0.5
"""How often a waiting watch sees whether the server is to stop."""
_SETTLE_SECONDS = 0.005
"""Between two looks whether the transactions have ended that somebody who begins to follow waits for."""

_log = structlog.get_logger(__name__)


class NoticeStream:
    """Registers followers and tells them, each from a cursor of its own."""

    def __init__(self, database: Database, pepper: Pepper, clock: Clock, drain: Drain) -> None:
        self._database = database
        self._mark = pepper_mark(pepper)
        self._clock = clock
        self._drain = drain
        self._watches = 0
        self._newest: dict[str, int] = {}
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def follow(self, request: FollowSubjectsRequest) -> FollowSubjectsResponse:
        """Register first and read then: a change is in the answer, or told by a notice, or both."""
        region, now = parse_node(request.node), self._clock.now()
        persons = await self._database.write(subscribe_node, region, list(request.subject_keys), now)
        under_way = await self._database.read(find_under_way)
        while under_way:
            # They may have looked before, and their changes are not to be read yet.
            await asyncio.sleep(_SETTLE_SECONDS)
            under_way &= await self._database.read(find_under_way)
        response = FollowSubjectsResponse()
        for followed in await self._database.read(read_subscribed, persons):
            subject = response.subjects.add(subject_keys=followed.subject_keys)
            for replica in followed.replicas:
                fill_replica(subject.results.add(), replica)
        for link in await self._database.read(find_ties, persons):
            fill_link(response.links.add(), link)
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            text = f"what is kept of them has over {MAX_MESSAGE_BYTES} bytes; ask for fewer at once"
            raise InvalidArgument.field("subject_keys", text, "BATCH_TOO_LARGE")
        return response

    async def watch(self, request: WatchNoticesRequest) -> AsyncIterator[WatchNoticesResponse]:
        """Tell a node what concerns it, for as long as it stays."""
        region = parse_node(request.node)
        if request.pepper_mark != self._mark:
            raise FailedPrecondition(
                "PEPPER_MISMATCH", "the subject keys are made with another pepper", metadata={"node": request.node}
            )
        commit_time = from_timestamp(request.commit_time) if request.HasField("commit_time") else None
        with self._place():
            await self._database.write(open_watch, region, NoticePosition(request.cursor, commit_time))
            async for message in self._tell(region, request.cursor):
                yield message
        raise Unavailable("SHUTTING_DOWN", "the server is being stopped; watch again from the cursor")

    async def _tell(self, region: str, cursor: int) -> AsyncIterator[WatchNoticesResponse]:
        loop = asyncio.get_running_loop()
        _log.info("a node watches", node=format_node(region), cursor=cursor)
        yield self._message(cursor)
        spoken = loop.time()
        while not self._drain.begun:
            # Whatever has a number up to this one is seen by the read that follows.
            seen = self._newest.get(region, 0)
            notices = await self._database.read(read_notices, region, cursor)
            for notice in notices:
                for message in self._messages(notice, cursor):
                    yield message
                cursor = notice.place.number
            if notices:
                spoken = loop.time()
            elif loop.time() - spoken >= HEARTBEAT_SECONDS:
                yield self._message(cursor)
                spoken = loop.time()
            else:
                await self._wait(region, seen)

    def _messages(self, notice: Notice, before: int) -> Iterator[WatchNoticesResponse]:
        """A notice in one message or several, of which the last moves the cursor on."""
        now = self._clock.now()
        message = self._message(before)
        for index, change in enumerate(notice.changes):
            if index and index % MAX_CHANGES == 0:
                yield message
                message = self._message(before)
            told = ReplicatedChange()
            fill_change(told, change, now)
            message.changes.append(told)
        message.cursor = notice.place.number
        if notice.place.commit_time is not None:
            set_timestamp(message.commit_time, notice.place.commit_time)
        yield message

    def _message(self, cursor: int) -> WatchNoticesResponse:
        message = WatchNoticesResponse(cursor=cursor)
        set_timestamp(message.send_time, self._clock.now())
        return message

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """One of the watches that there may be; while there is any, somebody looks for news."""
        if self._watches >= MAX_WATCHES:
            raise ResourceExhausted("OVERLOADED", "there are too many watches; watch again a little later")
        self._watches += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            yield
        finally:
            self._watches -= 1

    async def _look(self) -> None:
        while self._watches:
            try:
                newest = await self._database.read(newest_numbers)
            except HutongError as error:
                _log.warning("notices cannot be read", reason=error.reason)
                newest = self._newest
            if newest != self._newest:
                self._newest = newest
                self._news.set()
                self._news = asyncio.Event()
            await asyncio.sleep(POLL_SECONDS)

    async def _wait(self, region: str, seen: int) -> None:
        """Wait for a notice beyond what was seen, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GLANCE_SECONDS):
                while self._newest.get(region, 0) == seen:
                    await self._news.wait()
