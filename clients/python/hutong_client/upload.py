"""An upload that survives: batches pipelined over one stream, resumed by itself when the stream breaks.

Only batches that are not acknowledged yet are kept, `window` of them at most, so memory stays flat however long the
upload is. After a break the session asks GetUpload how far the service came and sends again what was not acknowledged:
the service knows a replayed batch, stores nothing twice and tells its rejections again.
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
"""The service's limits for one batch; a little of the megabyte is left for the frame around the tubes."""
WINDOW = 4
"""Batches on their way: one commits, one is judged, one waits there, one is being written here."""
_FIRST_BACKOFF = 0.2
_MAX_BACKOFF = 10.0

Note = TypeVar("Note")
"""What a caller wants back with a batch's acknowledgement, such as the rows of its file."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[Note]):
    """Tubes that follow one another, and a note of the caller's that comes back with their acknowledgement."""

    tubes: Sequence[Tube]
    note: Note


@dataclass(frozen=True, slots=True)
class Acknowledged(Generic[Note]):
    """A batch that is durable. `offset` is that of its first tube, `response` what the service says of it."""

    offset: int
    batch: Batch[Note]
    response: UploadResultsResponse


class UploadLost(HutongError):
    """The service holds less of the upload than it acknowledged: its database was set back. Upload afresh."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long an upload retries after failures that pass, and which clock it uses.

    Attributes:
        without_progress: the upload raises the last failure when nothing was acknowledged for this long.
        sleep: waits a number of seconds.
        now: a clock in seconds that never goes back.
    """

    without_progress: timedelta = timedelta(minutes=5)
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic


class UploadSession:
    """One upload of one laboratory.

    Args:
        uploads: the service, as `Connection.uploads`.
        lab: "labs/{uscc}".
        upload_id: the sender's own id; the same again resumes.
        validate_only: judge everything, store nothing. Such a session cannot be resumed and fails at the first break.
        window: batches that may wait for their acknowledgement.
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
        window: int = WINDOW,
        retry_policy: RetryPolicy | None = None,
        on_retry: Callable[[HutongError, float], None] | None = None,
    ) -> None:
        self._uploads = uploads
        self._start = UploadStart(lab=lab, upload_id=upload_id, validate_only=validate_only)
        self._window = window
        self._retry_policy = retry_policy or RetryPolicy()
        self._on_retry = on_retry

    @property
    def name(self) -> str:
        """The upload's resource name, "labs/{uscc}/uploads/{upload_id}"."""
        return f"{self._start.lab}/uploads/{self._start.upload_id}"

    def send(self, batches: Iterable[Batch[Note]], offset: int = 0) -> Iterator[Acknowledged[Note]]:
        """Send batches, the first of which begins at `offset`; yields each once, in order, when it is durable.

        Nothing is sent unless the result is iterated over. Failures that pass are retried by the session's policy.

        Raises:
            HutongError: one that no retry can mend, or the last of too many.
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
        """How far the service says that the upload has come; None when no batch of it was ever committed."""
        try:
            return self._uploads.GetUpload(GetUploadRequest(name=self.name), timeout=CALL_SECONDS).upload
        except NotFound:
            return None

    def _stream(
        self, source: Iterator[Batch[Note]], waiting: deque[tuple[int, Batch[Note]]], offset: int
    ) -> Iterator[Acknowledged[Note]]:
        """One stream: first what waits from the stream before, then what the source has."""
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
                # Everything that was to be known is known: how the stream ends changes nothing.
                responses.cancel() if waiting else next(responses, None)

    def _is_back(self, offset: int, tries: _Tries) -> bool:
        """Whether the service answers again. Raises UploadLost when it holds less than it acknowledged."""
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
        """Wait before the next try, or raise the error when there ought to be none."""
        if not error.can_be_retried or self._start.validate_only:
            raise error
        seconds = tries.next_wait(error)
        if self._on_retry:
            self._on_retry(error, seconds)
        self._retry_policy.sleep(seconds)


class _Tries:
    """Counts failures since the last progress."""

    def __init__(self, retry_policy: RetryPolicy) -> None:
        self._retry_policy = retry_policy
        self.progress()

    def progress(self) -> None:
        """Something was acknowledged: the next failure is the first again."""
        self._failures = 0
        self._since = self._retry_policy.now()

    def next_wait(self, error: HutongError) -> float:
        """Seconds until the next try, doubled with each failure and never less than the service asks for."""
        if self._retry_policy.now() - self._since > self._retry_policy.without_progress.total_seconds():
            raise error
        asked = error.retry_delay.total_seconds() if error.retry_delay else 0.0
        backoff = min(_FIRST_BACKOFF * 2**self._failures, _MAX_BACKOFF)
        self._failures += 1
        # Many laboratories meet one service that comes back: they must not all come in the same instant.
        return float(max(asked, backoff) * random.uniform(1.0, 1.25))  # noqa: S311


def _frame(offset: int, batch: Batch[Note]) -> UploadResultsRequest:
    return UploadResultsRequest(batch=TubeBatch(offset=offset, tubes=batch.tubes))
