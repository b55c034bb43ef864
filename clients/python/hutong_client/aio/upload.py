"""Uploads for asyncio that resume after every break. `hutong_client.upload` explains how."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Unpack

from hutong.results.v1.upload_pb2 import Upload, UploadStart
from hutong.results.v1.upload_service_pb2 import GetUploadRequest, UploadResultsRequest

from hutong_client.connection import CALL_SECONDS
from hutong_client.errors import ConnectionCut, HutongError, NotFound
from hutong_client.retry import Tries
from hutong_client.upload import Acknowledged, Batch, Note, SessionBase, SessionOptions, check_held, make_frame

if TYPE_CHECKING:
    from hutong.results.v1.upload_service_pb2_grpc import UploadServiceAsyncStub

Batches = Iterable[Batch[Note]] | AsyncIterable[Batch[Note]]


class UploadSession(SessionBase["UploadServiceAsyncStub"]):
    """One upload of one laboratory. `hutong_client.upload.SessionBase` documents the other arguments.

    Args:
        sleep: waits a number of seconds, in place of the retry policy's `sleep`.
    """

    def __init__(
        self,
        uploads: UploadServiceAsyncStub,
        lab: str,
        upload_id: str,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **options: Unpack[SessionOptions],
    ) -> None:
        super().__init__(uploads, lab, upload_id, **options)
        self._sleep = sleep

    async def send(self, batches: Batches[Note], offset: int = 0) -> AsyncIterator[Acknowledged[Note]]:
        """Send batches, and yield each batch once, in order, when it is durable.

        Nothing is sent until the result is iterated over. Transient failures are retried by the session's policy.

        Args:
            batches: the batches to send.
            offset: the position of the first batch in the upload, in tubes.

        Raises:
            HutongError: a failure that a retry cannot cure, or the last failure when the retry policy gives up.
        """
        in_flight = _InFlight(batches, self._window, offset)
        tries = Tries(self._retry_policy)
        try:
            while True:
                try:
                    async for acknowledged in self._stream(in_flight):
                        offset = acknowledged.offset + len(acknowledged.batch.tubes)
                        tries.progress()
                        self._count(acknowledged)
                        yield acknowledged
                        in_flight.remove_first()
                    return
                except HutongError as error:
                    await self._wait(tries, error)
                while not await self._is_back(offset, tries):
                    pass
        finally:
            in_flight.stop()

    async def get(self) -> Upload | None:
        """Return the upload as the service knows it; None if no batch of the upload was committed."""
        try:
            response = await self._uploads.GetUpload(GetUploadRequest(name=self.name), timeout=CALL_SECONDS)
        except NotFound:
            return None
        return response.upload

    async def _stream(self, in_flight: _InFlight[Note]) -> AsyncIterator[Acknowledged[Note]]:
        """Send over one stream: first the unacknowledged batches of the previous stream, then new ones."""
        call = self._uploads.UploadResults(in_flight.frames(self._start))
        try:
            async for response in call:
                yield Acknowledged(*in_flight.first(), response)
            if not in_flight.is_finished():
                raise ConnectionCut("the service closed the stream before all batches were acknowledged")
        except HutongError:
            # Once every batch is acknowledged, an error at the end of the stream changes nothing.
            if not in_flight.is_finished():
                raise
        finally:
            in_flight.close_stream()
            call.cancel()

    async def _is_back(self, offset: int, tries: Tries) -> bool:
        """Check whether the service answers again. Raise UploadLost if the service holds less than it acknowledged."""
        try:
            upload = await self.get()
        except HutongError as error:
            await self._wait(tries, error)
            return False
        check_held(upload, offset)
        return True

    async def _wait(self, tries: Tries, error: HutongError) -> None:
        await self._sleep(self._next_wait(tries, error))


class _InFlight(Generic[Note]):
    """The batches of an upload that are not acknowledged yet, at most `size`, in order.

    A task takes the batches from the source, so that a slow source delays no acknowledgement. The batch that the caller
    is handling counts as in flight until `remove_first`.
    """

    def __init__(self, source: Batches[Note], size: int, offset: int) -> None:
        self._source = source
        self._offset = offset
        self._free = asyncio.Semaphore(size)
        self._batches: deque[tuple[int, Batch[Note]]] = deque()
        self._stream: asyncio.Queue[UploadResultsRequest | None] | None = None
        self._task: asyncio.Task[None] | None = None

    def frames(self, start: UploadStart) -> AsyncIterator[UploadResultsRequest]:
        """Return a new stream's frames: the start, the batches in flight, then new batches until the source ends."""
        stream: asyncio.Queue[UploadResultsRequest | None] = asyncio.Queue()
        stream.put_nowait(UploadResultsRequest(start=start))
        for offset, batch in self._batches:
            stream.put_nowait(make_frame(offset, batch))
        self._stream = stream
        if self._task is None:
            self._task = asyncio.create_task(self._take())
        elif self._task.done():
            stream.put_nowait(None)
        return _until_none(stream)

    def close_stream(self) -> None:
        """End the frames of the stream."""
        if self._stream is not None:
            self._stream.put_nowait(None)
        self._stream = None

    def first(self) -> tuple[int, Batch[Note]]:
        """Return the oldest batch and its offset."""
        return self._batches[0]

    def remove_first(self) -> None:
        """Remove the oldest batch, so that the next batch is taken from the source."""
        self._batches.popleft()
        self._free.release()

    def is_finished(self) -> bool:
        """Return whether the source has ended and every batch is removed. If the source failed, raise its error."""
        if self._task is None or not self._task.done() or self._batches:
            return False
        self._task.result()
        return True

    def stop(self) -> None:
        """Stop taking batches from the source."""
        if self._task is not None:
            self._task.cancel()
            # The upload has ended. An error of the source is read here, because asyncio reports errors that are never
            # read.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _take(self) -> None:
        try:
            batches = self._source
            iterator = batches.__aiter__() if isinstance(batches, AsyncIterable) else _asynchronous(batches)
            while True:
                await self._free.acquire()
                batch = await anext(iterator, None)
                if batch is None:
                    return
                self._batches.append((self._offset, batch))
                if self._stream is not None:
                    self._stream.put_nowait(make_frame(self._offset, batch))
                self._offset += len(batch.tubes)
        finally:
            # The stream ends in the next step of the event loop. Only then does `is_finished` see this task as done.
            asyncio.get_running_loop().call_soon(self._end_stream)

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream.put_nowait(None)


async def _until_none(stream: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while (frame := await stream.get()) is not None:
        yield frame


async def _asynchronous(batches: Iterable[Batch[Note]]) -> AsyncIterator[Batch[Note]]:
    for batch in batches:
        yield batch
