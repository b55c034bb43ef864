"""Upload batches over one stream, and resume automatically when the stream breaks.

A session keeps only the batches that are not acknowledged yet, at most `window` of them, so its memory does not grow
with the upload. After a break the session reads the committed offset with GetUpload and sends again every batch that
was not acknowledged. The service recognises a replayed batch, stores nothing twice and returns its rejections again.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

from hutong.results.v1.upload_pb2 import Tube, TubeBatch, Upload, UploadStart
from hutong.results.v1.upload_service_pb2 import GetUploadRequest, UploadResultsRequest, UploadResultsResponse
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from hutong_texts import tr

from hutong_client.connection import CALL_SECONDS
from hutong_client.errors import ConnectionCut, HutongError, NotFound
from hutong_client.retry import RetryPolicy, Tries

MAX_TUBES = 1_000
"""The service's limit of tubes in one batch."""
MAX_BATCH_BYTES = 1024 * 1024 - 4096
"""The most bytes of tubes in one batch: the service's limit of 1 MiB, less 4 KiB for the fields around the tubes."""
TUBE_OVERHEAD_BYTES = 8
"""The most bytes that protobuf's tag and length take for one tube in a batch."""
WINDOW = 4
"""Batches in flight: the service commits one batch, validates one and queues one, while the client writes one."""

Stub = TypeVar("Stub")
"""The stub of UploadService, of the synchronous or the asyncio API."""
Note = TypeVar("Note")
"""Data of the caller that is returned with the acknowledgement of a batch, such as the rows of the file."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[Note]):
    """Consecutive tubes, and the caller's note, which is returned with the acknowledgement of these tubes."""

    tubes: Sequence[Tube]
    note: Note


@dataclass(frozen=True, slots=True)
class Acknowledged(Generic[Note]):
    """A batch that is durable.

    Attributes:
        offset: the position of its first tube in the upload.
        batch: the batch as it was sent.
        response: the service's acknowledgement, with the rejections.
    """

    offset: int
    batch: Batch[Note]
    response: UploadResultsResponse


class Totals(NamedTuple):
    """Counts of what was acknowledged.

    Attributes:
        tubes: all acknowledged tubes.
        accepted: persons that were stored.
        duplicates: persons that were stored before with the same content.
        rejected: persons that were rejected.
    """

    tubes: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0


class UploadLost(HutongError):
    """The service holds fewer tubes than it acknowledged, because its database was restored. Start a new upload."""


class SessionOptions(TypedDict, total=False):
    """The optional arguments of `SessionBase`."""

    validate_only: bool
    items: Sequence[str]
    window: int
    retry_policy: RetryPolicy | None
    on_retry: Callable[[HutongError, float], None] | None


class SessionBase(Generic[Stub]):
    """What the upload sessions of the synchronous and the asyncio API share.

    Args:
        uploads: the service, as `Connection.uploads`.
        lab: "labs/{uscc}".
        upload_id: an id that the sender chooses. A session with the same id resumes the upload.
        validate_only: a dry run: validate everything and store nothing. A dry run cannot be resumed and fails at the
            first break.
        items: the items that the upload admits besides the default item, as "items/sars-cov-2-antigen".
        window: the greatest number of batches that may wait for their acknowledgement.
        retry_policy: how long to retry after transient failures.
        on_retry: called before each retry with the failure and the seconds until the next try.
    """

    def __init__(
        self,
        uploads: Stub,
        lab: str,
        upload_id: str,
        *,
        validate_only: bool = False,
        items: Sequence[str] = (),
        window: int = WINDOW,
        retry_policy: RetryPolicy | None = None,
        on_retry: Callable[[HutongError, float], None] | None = None,
    ) -> None:
        self._uploads = uploads
        self._start = UploadStart(lab=lab, upload_id=upload_id, validate_only=validate_only, items=items)
        self._window = window
        self._retry_policy = retry_policy or RetryPolicy()
        self._on_retry = on_retry
        self._totals = Totals()

    def totals(self) -> Totals:
        """Return the counts of all batches that `send` has yielded. `get` returns the counts of the whole upload."""
        return self._totals

    def _count(self, acknowledged: Acknowledged[Any]) -> None:
        """Add an acknowledgement to the totals."""
        totals, response = self._totals, acknowledged.response
        self._totals = Totals(
            totals.tubes + len(acknowledged.batch.tubes),
            totals.accepted + response.accepted_count,
            totals.duplicates + response.duplicate_count,
            totals.rejected + response.rejected_count,
        )

    @property
    def name(self) -> str:
        """The upload's resource name, "labs/{uscc}/uploads/{upload_id}"."""
        return f"{self._start.lab}/uploads/{self._start.upload_id}"

    def _next_wait(self, tries: Tries, error: HutongError) -> float:
        """Return the seconds until the next try, or raise the error if no retry is allowed."""
        if not error.can_be_retried or self._start.validate_only:
            raise error
        seconds = tries.next_wait(error)
        if self._on_retry:
            self._on_retry(error, seconds)
        return seconds


def check_held(upload: Upload | None, offset: int) -> None:
    """Raise UploadLost if the service holds less of an upload than the service acknowledged."""
    committed = upload.committed_offset if upload else 0
    if committed < offset:
        raise UploadLost(
            tr(
                "{offset} tubes were acknowledged, and the service holds {committed} of them",
                offset=offset,
                committed=committed,
            )
        )


class UploadSession(SessionBase[UploadServiceStub]):
    """One upload of one laboratory. `SessionBase` documents the arguments."""

    def send(self, batches: Iterable[Batch[Note]], offset: int = 0) -> Iterator[Acknowledged[Note]]:
        """Send batches, and yield each batch once, in order, when it is durable.

        Nothing is sent until the result is iterated over. Transient failures are retried by the session's policy.

        Args:
            batches: the batches to send. A thread of the session iterates over them.
            offset: the position of the first batch in the upload, in tubes.

        Raises:
            HutongError: a failure that a retry cannot cure, or the last failure when the retry policy gives up.
        """
        in_flight = _InFlight(batches, self._window, offset)
        tries = Tries(self._retry_policy)
        try:
            while True:
                try:
                    for acknowledged in self._stream(in_flight):
                        offset = acknowledged.offset + len(acknowledged.batch.tubes)
                        tries.progress()
                        self._count(acknowledged)
                        yield acknowledged
                        in_flight.remove_first()
                    return
                except HutongError as error:
                    self._wait(tries, error)
                while not self._is_back(offset, tries):
                    pass
        finally:
            in_flight.stop()

    def get(self) -> Upload | None:
        """Return the upload as the service knows it; None if no batch of the upload was committed."""
        try:
            return self._uploads.GetUpload(GetUploadRequest(name=self.name), timeout=CALL_SECONDS).upload
        except NotFound:
            return None

    def _stream(self, in_flight: _InFlight[Note]) -> Iterator[Acknowledged[Note]]:
        """Send over one stream: first the unacknowledged batches of the previous stream, then new ones."""
        responses = self._uploads.UploadResults(in_flight.frames(self._start))
        try:
            for response in responses:
                yield Acknowledged(*in_flight.first(), response)
            if not in_flight.is_finished():
                raise ConnectionCut(tr("the service closed the stream before all batches were acknowledged"))
        except HutongError:
            # Once every batch is acknowledged, an error at the end of the stream changes nothing.
            if not in_flight.is_finished():
                raise
        finally:
            in_flight.close_stream()
            responses.cancel()

    def _is_back(self, offset: int, tries: Tries) -> bool:
        """Check whether the service answers again. Raise UploadLost if the service holds less than it acknowledged."""
        try:
            upload = self.get()
        except HutongError as error:
            self._wait(tries, error)
            return False
        check_held(upload, offset)
        return True

    def _wait(self, tries: Tries, error: HutongError) -> None:
        self._retry_policy.sleep(self._next_wait(tries, error))


class _InFlight(Generic[Note]):
    """The batches of an upload that are not acknowledged yet, at most `size`, in order.

    A thread takes the batches from the source, so that a slow source delays no acknowledgement. The batch that the
    caller is handling counts as in flight until `remove_first`.
    """

    def __init__(self, source: Iterable[Batch[Note]], size: int, offset: int) -> None:
        self._source = source
        self._offset = offset
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._batches: deque[tuple[int, Batch[Note]]] = deque()
        self._stream: queue.SimpleQueue[UploadResultsRequest | None] | None = None
        self._is_drained = False
        self._is_stopped = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._take, name="hutong-upload", daemon=True)

    def frames(self, start: UploadStart) -> Iterator[UploadResultsRequest]:
        """Return a new stream's frames: the start, the batches in flight, then new batches until the source ends."""
        stream: queue.SimpleQueue[UploadResultsRequest | None] = queue.SimpleQueue()
        stream.put(UploadResultsRequest(start=start))
        with self._lock:
            for offset, batch in self._batches:
                stream.put(make_frame(offset, batch))
            if self._is_drained:
                stream.put(None)
            self._stream = stream
        if self._thread.ident is None:
            self._thread.start()
        return iter(stream.get, None)

    def close_stream(self) -> None:
        """End the frames of the stream."""
        with self._lock:
            if self._stream is not None:
                self._stream.put(None)
            self._stream = None

    def first(self) -> tuple[int, Batch[Note]]:
        """Return the oldest batch and its offset."""
        with self._lock:
            return self._batches[0]

    def remove_first(self) -> None:
        """Remove the oldest batch, so that the next batch is taken from the source."""
        with self._lock:
            self._batches.popleft()
        self._free.release()

    def is_finished(self) -> bool:
        """Return whether the source has ended and every batch is removed. If the source failed, raise its error."""
        with self._lock:
            if self._is_drained and not self._batches and self._failure is not None:
                raise self._failure
            return self._is_drained and not self._batches

    def stop(self) -> None:
        """Let the thread end after the batch that it is taking."""
        self._is_stopped = True
        self._free.release()

    def _take(self) -> None:
        source = iter(self._source)
        try:
            while True:
                self._free.acquire()
                if self._is_stopped:
                    return
                batch = next(source, None)
                if batch is None:
                    return
                with self._lock:
                    self._batches.append((self._offset, batch))
                    if self._stream is not None:
                        self._stream.put(make_frame(self._offset, batch))
                    self._offset += len(batch.tubes)
        except BaseException as error:  # noqa: BLE001 - is raised in the caller's thread
            self._failure = error
        finally:
            with self._lock:
                self._is_drained = True
                if self._stream is not None:
                    self._stream.put(None)


def batches_of(tubes: Iterable[Tube]) -> Iterator[Batch[None]]:
    """Yield tubes as batches within the service's limits of tubes and bytes."""
    batch: list[Tube] = []
    size = 0
    for tube in tubes:
        more = tube.ByteSize() + TUBE_OVERHEAD_BYTES
        if batch and (len(batch) >= MAX_TUBES or size + more > MAX_BATCH_BYTES):
            yield Batch(batch, None)
            batch, size = [], 0
        batch.append(tube)
        size += more
    if batch:
        yield Batch(batch, None)


def make_frame(offset: int, batch: Batch[Note]) -> UploadResultsRequest:
    """Return the frame of a batch that begins at an offset."""
    return UploadResultsRequest(batch=TubeBatch(offset=offset, tubes=batch.tubes))
