"""Upload batches over one stream, and resume automatically when the stream breaks.

A session keeps only the batches that are not acknowledged yet, at most `window` of them, so its memory does not grow
with the upload. After a break the session reads the committed offset with GetUpload and sends again every batch that
was not acknowledged. The service recognises a replayed batch, stores nothing twice and returns its rejections again.
"""

from __future__ import annotations

import contextlib
import queue
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Generic, TypeVar

from hutong.results.v1.upload_pb2 import Tube, TubeBatch, Upload, UploadStart
from hutong.results.v1.upload_service_pb2 import GetUploadRequest, UploadResultsRequest, UploadResultsResponse
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub

from hutong_client.connection import CALL_SECONDS
from hutong_client.errors import HutongError, NotFound

MAX_TUBES = 1_000
MAX_BATCH_BYTES = 1024 * 1024 - 4096
"""The service's limit of 1 MiB for one batch, less 4 KiB for the fields around the tubes."""
WINDOW = 4
"""Batches in flight: the service commits one, validates one and queues one while the client writes one."""
_FIRST_BACKOFF = 0.2
"""Seconds before the first retry; each failure doubles them."""
_MAX_BACKOFF = 10.0
"""Seconds between two tries at most, so that an upload continues soon after the service returns."""

Note = TypeVar("Note")
"""The caller's data that is returned with a batch's acknowledgement, such as the rows of its file."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[Note]):
    """Consecutive tubes, and a note of the caller that is returned with their acknowledgement."""

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


class UploadLost(HutongError):
    """The service holds fewer tubes than it acknowledged, because its database was restored. Start a new upload."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limit of retries after transient failures, with the clock that measures it.

    Attributes:
        without_progress: the upload raises the last failure if no batch was acknowledged for this long.
        sleep: waits a number of seconds.
        now: a monotonic clock in seconds.
    """

    without_progress: timedelta = timedelta(minutes=5)
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic


class UploadSession:
    """One upload of one laboratory.

    Args:
        uploads: the service, as `Connection.uploads`.
        lab: "labs/{uscc}".
        upload_id: an id chosen by the sender; a session with the same id resumes the upload.
        validate_only: a dry run: validate everything and store nothing. It cannot be resumed and fails at the first
            break.
        items: the items that the upload admits besides the default item, as "items/sars-cov-2-antigen".
        window: the most batches that may wait for their acknowledgement.
        retry_policy: how long to retry after failures.
        on_retry: called before each retry with the failure and the seconds until the next try.
    """

    def __init__(
        self,
        uploads: UploadServiceStub,
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

    @property
    def name(self) -> str:
        """The upload's resource name, "labs/{uscc}/uploads/{upload_id}"."""
        return f"{self._start.lab}/uploads/{self._start.upload_id}"

    def send(self, batches: Iterable[Batch[Note]], offset: int = 0) -> Iterator[Acknowledged[Note]]:
        """Send batches and yield each once, in order, when it is durable.

        Nothing is sent until the result is iterated over. Transient failures are retried by the session's policy.

        Args:
            batches: the batches to send.
            offset: the position of the first batch in the upload, in tubes.

        Raises:
            HutongError: a failure that a retry cannot cure, or the last one when the retry policy gives up.
        """
        source = iter(batches)
        waiting: deque[tuple[int, Batch[Note]]] = deque()
        tries = _Tries(self._retry_policy)
        while True:
            try:
                for acknowledged in self._stream(source, waiting, offset):
                    offset = acknowledged.offset + len(acknowledged.batch.tubes)
                    tries.progress()
                    yield acknowledged
                return
            except HutongError as error:
                self._wait(tries, error)
            while not self._is_back(offset, tries):
                pass

    def get(self) -> Upload | None:
        """Return the upload as the service knows it; None if no batch of it was committed."""
        try:
            return self._uploads.GetUpload(GetUploadRequest(name=self.name), timeout=CALL_SECONDS).upload
        except NotFound:
            return None

    def _stream(
        self, source: Iterator[Batch[Note]], waiting: deque[tuple[int, Batch[Note]]], offset: int
    ) -> Iterator[Acknowledged[Note]]:
        """Send over one stream: first the unacknowledged batches of the previous stream, then new ones."""
        frames: queue.SimpleQueue[UploadResultsRequest | None] = queue.SimpleQueue()
        frames.put(UploadResultsRequest(start=self._start))
        for at, batch in waiting:
            frames.put(_frame(at, batch))
            offset = at + len(batch.tubes)
        responses = self._uploads.UploadResults(iter(frames.get, None))
        try:
            while True:
                for batch in islice(source, self._window - len(waiting)):
                    waiting.append((offset, batch))
                    frames.put(_frame(offset, batch))
                    offset += len(batch.tubes)
                if not waiting:
                    return
                response = next(responses)
                at, batch = waiting.popleft()
                yield Acknowledged(at, batch, response)
        finally:
            frames.put(None)
            with contextlib.suppress(HutongError):
                # All acknowledgements have been read, so an error at the end of the stream changes nothing.
                responses.cancel() if waiting else next(responses, None)

    def _is_back(self, offset: int, tries: _Tries) -> bool:
        """Check whether the service answers again. Raise UploadLost if it holds less than it acknowledged."""
        try:
            upload = self.get()
        except HutongError as error:
            self._wait(tries, error)
            return False
        committed = upload.committed_offset if upload else 0
        if committed < offset:
            raise UploadLost(f"{offset} tubes were acknowledged, and the service holds {committed} of them")
        return True

    def _wait(self, tries: _Tries, error: HutongError) -> None:
        """Wait before the next try, or raise the error if no retry is allowed."""
        if not error.can_be_retried or self._start.validate_only:
            raise error
        seconds = tries.next_wait(error)
        if self._on_retry:
            self._on_retry(error, seconds)
        self._retry_policy.sleep(seconds)


class _Tries:
    """Counter of failures since the last acknowledgement."""

    def __init__(self, retry_policy: RetryPolicy) -> None:
        self._retry_policy = retry_policy
        self.progress()

    def progress(self) -> None:
        """Reset the count after an acknowledgement."""
        self._failures = 0
        self._since = self._retry_policy.now()

    def next_wait(self, error: HutongError) -> float:
        """Return the seconds until the next try: doubled with each failure, and at least what the service asks for."""
        if self._retry_policy.now() - self._since > self._retry_policy.without_progress.total_seconds():
            raise error
        asked = error.retry_delay.total_seconds() if error.retry_delay else 0.0
        backoff = min(_FIRST_BACKOFF * 2**self._failures, _MAX_BACKOFF)
        self._failures += 1
        # Jitter, so that many laboratories do not call a restarted service in the same instant.
        return float(max(asked, backoff) * random.uniform(1.0, 1.25))  # noqa: S311


def _frame(offset: int, batch: Batch[Note]) -> UploadResultsRequest:
    return UploadResultsRequest(batch=TubeBatch(offset=offset, tubes=batch.tubes))
