"""One stream between two nodes after the first frame of each. Both ends run this code.

Each side sends one frame with reports or counts at a time and waits for its acknowledgement. Meanwhile it receives
frames of the other side. A stream that is silent for too long is closed, and the node below opens another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hutong.exchange.v1.refusal_exchange_service_pb2 import RefusalExchangeFrame

from services.verification.refusal_exchange.counts import COUNTS_BATCH, DecisionCountOutbox, count_to_message
from services.verification.refusal_exchange.store import Begun, Outgoing, RefusalExchangeStore
from services.verification.refusal_exchange.timing import RefusalTiming

ReadFrame = Callable[[], Awaitable[RefusalExchangeFrame | None]]
"""Returns the next frame of the other side; None at the end of the stream."""
WriteFrame = Callable[[RefusalExchangeFrame], Awaitable[None]]


class RefusalSession:
    """Exchanges reports with one node.

    `begun` has the number of the stream, and the greatest number of a frame that the node may have. `counts` reads the
    counts of decisions to send; None if the node takes no counts.
    """

    def __init__(
        self,
        store: RefusalExchangeStore,
        node: str,
        timing: RefusalTiming,
        read: ReadFrame,
        write: WriteFrame,
        *,
        is_above: bool,
        begun: Begun,
        counts: DecisionCountOutbox | None = None,
    ) -> None:
        self._store = store
        self._node = node
        self._timing = timing
        self._read = read
        self._write = write
        self._is_above = is_above
        self._stream = begun.stream
        self._number = begun.numbers.acknowledged
        self._counts = counts
        self._writing = asyncio.Lock()
        self._answers: asyncio.Queue[RefusalExchangeFrame] = asyncio.Queue()

    async def run(self) -> None:
        """Exchange reports until the stream ends or fails. Return if the other side has ended it."""
        receiving = asyncio.ensure_future(self._receive())
        sending = asyncio.ensure_future(self._send())
        try:
            await asyncio.wait([receiving, sending], return_when=asyncio.FIRST_COMPLETED)
            for ended in (receiving, sending):
                if ended.done():
                    ended.result()
        finally:
            for task in (receiving, sending):
                task.cancel()
            await asyncio.gather(receiving, sending, return_exceptions=True)

    async def _receive(self) -> None:
        while True:
            async with asyncio.timeout(self._timing.silence):
                frame = await self._read()
            if frame is None:
                return
            if frame.acknowledged_number:
                self._answers.put_nowait(frame)
            if frame.number:
                deferred = await self._store.receive(self._node, self._stream, frame)
                await self._send_frame(RefusalExchangeFrame(acknowledged_number=frame.number, deferred=deferred))

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        last_beat = loop.time()
        counts_due = last_beat
        while True:
            if self._counts is not None and loop.time() >= counts_due:
                if await self._send_counts(self._counts):
                    last_beat = loop.time()
                else:
                    counts_due = loop.time() + self._timing.counts
            outgoing = await self._store.read_outbox(self._node, is_above=self._is_above)
            if outgoing:
                await self._send_reports(outgoing)
                last_beat = loop.time()
                continue
            if loop.time() - last_beat >= self._timing.heartbeat:
                await self._send_frame(RefusalExchangeFrame())
                last_beat = loop.time()
            await asyncio.sleep(self._timing.idle)

    async def _send_reports(self, outgoing: list[Outgoing]) -> None:
        """Send reports, and remove them from the outbox once they are acknowledged."""
        messages = [one.message for one in outgoing if one.message is not None]
        deferred: frozenset[str] = frozenset()
        if messages:
            answer = await self._send_content(RefusalExchangeFrame(refusals=messages))
            deferred = frozenset(answer.deferred)
        await self._store.acknowledge(
            self._node, self._stream, self._number if messages else 0, outgoing, deferred, self._timing.deferred
        )

    async def _send_counts(self, counts: DecisionCountOutbox) -> bool:
        """Send changed counts of decisions. Return whether there may be more."""
        unsent = await counts.read()
        if unsent:
            await self._send_content(RefusalExchangeFrame(decision_counts=map(count_to_message, unsent)))
            await counts.acknowledge(self._node, self._stream, self._number, unsent)
        return len(unsent) == COUNTS_BATCH or await counts.reopen(self._node)

    async def _send_content(self, frame: RefusalExchangeFrame) -> RefusalExchangeFrame:
        """Send a frame with content and the next number. Return its acknowledgement."""
        self._number += 1
        frame.number = self._number
        await self._store.note_sent(self._node, self._stream, self._number)
        await self._send_frame(frame)
        while True:
            async with asyncio.timeout(self._timing.silence):
                answer = await self._answers.get()
            if answer.acknowledged_number == self._number:
                return answer

    async def _send_frame(self, frame: RefusalExchangeFrame) -> None:
        # gRPC takes one message of a call at a time.
        async with self._writing:
            await self._write(frame)
