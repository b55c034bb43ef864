"""Checks the frames of an upload, and ends the stream when the server drains."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from hutong.results.v1.upload_pb2 import TubeBatch
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest
from hutong_texts import Text, english

from services.domain.errors import InvalidArgument, Unavailable, Violation
from services.results.upload.validation import MAX_BATCH_BYTES, MAX_TUBES
from services.runtime.server.service import Drain


def checked_batch(frame: UploadResultsRequest) -> TubeBatch:
    """Return the batch of a frame after the first.

    Raises:
        InvalidArgument: UPLOAD_NOT_STARTED, INVALID_FIELD or BATCH_TOO_LARGE.
    """
    kind = frame.WhichOneof("frame")
    if kind == "start":
        raise not_started(english("start is the first frame and only the first"))
    if kind is None:
        raise InvalidArgument.field("frame", english("is empty; send a batch"))
    batch = frame.batch
    if not batch.tubes:
        raise InvalidArgument.field("batch.tubes", english("is empty; send 1 to 1,000 tubes"))
    if batch.offset < 0:
        raise InvalidArgument.field("batch.offset", english("must not be negative"))
    if len(batch.tubes) > MAX_TUBES:
        raise too_large(
            "batch.tubes",
            english("has {count} tubes, more than {limit}", count=len(batch.tubes), limit=MAX_TUBES),
            MAX_TUBES,
        )
    if (size := batch.ByteSize()) > MAX_BATCH_BYTES:
        raise too_large(
            "batch", english("has {size} bytes, more than {limit}", size=size, limit=MAX_BATCH_BYTES), MAX_BATCH_BYTES
        )
    return batch


def not_started(text: Text) -> InvalidArgument:
    """Return the error for a stream whose frames are out of order."""
    return InvalidArgument.field("start", text, "UPLOAD_NOT_STARTED")


def too_large(field: str, text: Text, limit: int) -> InvalidArgument:
    """Return the error for a batch that exceeds a limit."""
    return InvalidArgument(
        "BATCH_TOO_LARGE",
        english("{field}: {description}", field=field, description=text),
        violations=[Violation(field, "BATCH_TOO_LARGE", text)],
        metadata={"field": field, "limit": str(limit)},
    )


def until_drained(frames: AsyncIterator[UploadResultsRequest], drain: Drain) -> AsyncGenerator[UploadResultsRequest]:
    """Yield the frames until the stream ends.

    Raises:
        Unavailable: SHUTTING_DOWN, the server began to drain.
    """
    stopped = Unavailable(
        "SHUTTING_DOWN",
        english("the server is being stopped; open the upload again and go on from GetUpload"),
        metadata={"service": "results"},
    )
    return drain.read(frames, stopped)
