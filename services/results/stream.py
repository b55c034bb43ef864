"""One upload stream: frames in, judged ahead of the commit before them, acknowledged in order once they are durable."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

from hutong.results.v1.upload_pb2 import Tube, TubeBatch, UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest, UploadResultsResponse

from services.domain.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Violation,
)
from services.domain.instant import Instant
from services.domain.names import parse_lab
from services.domain.subject import Pepper
from services.results.convert import acknowledgement_to_proto, token
from services.results.filing import UploadPosition, upload_gap
from services.results.judging import Judges
from services.results.known_batches import batch_digest
from services.results.labs import MEMORY
from services.results.model import Acknowledgement, JudgedBatch, Lab
from services.results.quotas import Quotas
from services.results.rehearsal import Rehearsal
from services.results.store import Store
from services.results.upload import MAX_BATCH_BYTES, MAX_TUBES
from services.runtime.clock import Clock
from services.runtime.unit import Drain

JUDGED_AHEAD = 2
"""Batches that are judged, or wait judged, while the one before them commits. With that one and the one just read a
stream holds four in memory at most; beyond that gRPC's flow control holds the laboratory back."""

UPLOAD_METHOD = "/hutong.results.v1.UploadService/UploadResults"

_Judgement = asyncio.Future[JudgedBatch]


@dataclass(frozen=True, slots=True)
class UploadDesk:
    """What every upload of a process shares."""

    store: Store
    jurisdiction: str
    clock: Clock
    judges: Judges
    quotas: Quotas
    drain: Drain
    pepper: Pepper
    start_seconds: float
    """How long a stream may stay without its first frame: until then it belongs to nobody and is counted for nobody."""

    async def receive(self, frames: AsyncIterator[UploadResultsRequest]) -> AsyncIterator[UploadResultsResponse]:
        """Take an upload from its first frame to its last, yielding one response for each batch."""
        start = await self._first_frame(frames)
        # Before its quotas, which are kept for registered laboratories alone: others could be any number.
        lab = await self._require_lab(parse_lab(start.lab, "start.lab"))
        async with self.quotas.stream(lab.uscc):
            async for response in self._receive_batches(start, lab, frames):
                yield response

    async def _receive_batches(
        self, start: UploadStart, lab: Lab, frames: AsyncIterator[UploadResultsRequest]
    ) -> AsyncIterator[UploadResultsResponse]:
        uscc = lab.uscc
        position = UploadPosition(uscc, start.upload_id, self.jurisdiction)
        commit = self._rehearse(position) if start.validate_only else self._commit(position)
        judged: asyncio.Queue[_Judgement | Exception | None] = asyncio.Queue(JUDGED_AHEAD)
        reader = asyncio.ensure_future(self._judge_frames(frames, lab, position, start.validate_only, judged))
        try:
            while (item := await judged.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                judgement = await item
                async with self.quotas.storing(uscc):
                    acknowledgement = await commit(judgement)
                fresh = "" if start.validate_only else token(self.jurisdiction, self.clock.now())
                yield acknowledgement_to_proto(acknowledgement, fresh)
                if not start.validate_only:
                    self.quotas.count_duplicates(uscc, acknowledgement.duplicate_count)
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
            while not judged.empty():
                unwanted = judged.get_nowait()
                if isinstance(unwanted, asyncio.Future):
                    unwanted.cancel()

    async def _first_frame(self, frames: AsyncIterator[UploadResultsRequest]) -> UploadStart:
        try:
            async with (
                asyncio.timeout(self.start_seconds) as limit,
                contextlib.aclosing(until_drained(frames, self.drain)) as arriving,
            ):
                frame = await anext(arriving)
        except StopAsyncIteration:
            raise not_started("the stream ended before its first frame") from None
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                "DEADLINE", f"no first frame came within {self.start_seconds:g} s", metadata={"method": UPLOAD_METHOD}
            ) from None
        if frame.WhichOneof("frame") != "start":
            raise not_started("the first frame must be start")
        return frame.start

    async def _require_lab(self, uscc: str) -> Lab:
        try:
            return await self.store.get_lab(uscc)
        except NotFound:
            name = f"labs/{uscc}"
            raise FailedPrecondition(
                "LAB_UNKNOWN",
                f"{name} is not registered at this node",
                violations=[Violation("start.lab", "LAB_UNKNOWN", "register it with LabService.CreateLab", name)],
                metadata={"lab": name},
            ) from None

    async def _judge_frames(
        self,
        frames: AsyncIterator[UploadResultsRequest],
        lab: Lab,
        position: UploadPosition,
        validate_only: bool,
        judged: asyncio.Queue[_Judgement | Exception | None],
    ) -> None:
        """Have each batch judged as it comes, in order; queue the error that ends the stream, or None at its end."""
        try:
            expected = 0 if validate_only else await self._committed_offset(position)
            read_time = self.clock.now()
            async for frame in until_drained(frames, self.drain):
                batch = checked_batch(frame)
                if batch.offset > expected:
                    raise upload_gap(expected, batch.offset)
                expected = max(expected, batch.offset + len(batch.tubes))
                now = self.clock.now()
                if now - read_time >= MEMORY:
                    # A stream may last for days, and the laboratory may be suspended meanwhile.
                    lab, read_time = await self._require_lab(lab.uscc), now
                async with self.quotas.reading(lab.uscc):
                    judgement = await self._begin_judgement(lab, now, batch, validate_only)
                await judged.put(judgement)
        except Exception as error:  # noqa: BLE001 - it is raised again where the stream is answered
            await judged.put(error)
        else:
            await judged.put(None)

    async def _begin_judgement(self, lab: Lab, now: Instant, batch: TubeBatch, validate_only: bool) -> _Judgement:
        """Have a batch judged beside what else is done; of one that is stored already only what was rejected."""
        person_counts = [len(tube.persons) for tube in batch.tubes]
        offset = batch.offset
        batch.ClearField("offset")
        tubes = batch.SerializeToString()
        digest = b"" if validate_only else batch_digest(self.pepper, tubes)
        unstored = await self.store.find_unstored(lab.uscc, digest) if digest else None
        # What is known is not counted: it costs next to nothing, and duplicates have a limit of their own.
        judged = range(len(person_counts)) if unstored is None else unstored
        await self.quotas.admit(lab.uscc, sum(person_counts[index] for index in judged))
        if unstored is None:
            return asyncio.ensure_future(self._judge(lab, now, offset, tubes, digest))
        rest = [batch.tubes[index] for index in unstored]
        return asyncio.ensure_future(self._judge_rest(lab, now, offset, person_counts, unstored, rest))

    async def _judge(self, lab: Lab, now: Instant, offset: int, tubes: bytes, digest: bytes) -> JudgedBatch:
        return replace(await self.judges.judge(lab, now, offset, tubes), digest=digest)

    async def _judge_rest(
        self, lab: Lab, now: Instant, offset: int, person_counts: list[int], places: list[int], rest: list[Tube]
    ) -> JudgedBatch:
        """Judge some tubes of a batch whose others are stored; `places` are theirs in the batch."""
        known = sorted(set(range(len(person_counts))) - set(places))
        if not rest:
            return JudgedBatch(offset, person_counts, (), (), known_tubes=known)
        judged = await self.judges.judge(lab, now, offset, TubeBatch(tubes=rest).SerializeToString())
        return JudgedBatch(
            offset,
            person_counts,
            [row._replace(tube_index=places[row.tube_index]) for row in judged.results],
            [replace(rejection, tube_index=places[rejection.tube_index]) for rejection in judged.rejections],
            known_tubes=known,
        )

    async def _committed_offset(self, position: UploadPosition) -> int:
        try:
            return (await self.store.get_upload(position.lab, position.upload_id)).committed_offset
        except NotFound:
            return 0

    def _commit(self, position: UploadPosition) -> Callable[[JudgedBatch], asyncio.Future[Acknowledgement]]:
        def commit(batch: JudgedBatch) -> asyncio.Future[Acknowledgement]:
            return asyncio.ensure_future(self.store.commit_batch(position, batch, self.clock.now()))

        return commit

    def _rehearse(self, position: UploadPosition) -> Callable[[JudgedBatch], asyncio.Future[Acknowledgement]]:
        rehearsal = Rehearsal(position.lab, self.store)

        def commit(batch: JudgedBatch) -> asyncio.Future[Acknowledgement]:
            return asyncio.ensure_future(rehearsal.judge_against_store(batch, self.clock.now()))

        return commit


def checked_batch(frame: UploadResultsRequest) -> TubeBatch:
    """The batch of a frame after the first; InvalidArgument for another start, a bad offset, or one too large."""
    kind = frame.WhichOneof("frame")
    if kind == "start":
        raise not_started("start is the first frame and only the first")
    if kind is None:
        raise InvalidArgument.field("frame", "is empty; send a batch")
    batch = frame.batch
    if not batch.tubes:
        raise InvalidArgument.field("batch.tubes", "is empty; send 1 to 1,000 tubes")
    if batch.offset < 0:
        raise InvalidArgument.field("batch.offset", "must not be negative")
    if len(batch.tubes) > MAX_TUBES:
        raise too_large("batch.tubes", f"has {len(batch.tubes)} tubes, more than {MAX_TUBES}", MAX_TUBES)
    if (size := batch.ByteSize()) > MAX_BATCH_BYTES:
        raise too_large("batch", f"has {size} bytes, more than {MAX_BATCH_BYTES}", MAX_BATCH_BYTES)
    return batch


def not_started(text: str) -> InvalidArgument:
    """The error for a stream whose frames are out of order."""
    return InvalidArgument.field("start", text, "UPLOAD_NOT_STARTED")


def too_large(field: str, text: str, limit: int) -> InvalidArgument:
    """The error for a batch beyond its limits."""
    return InvalidArgument(
        "BATCH_TOO_LARGE",
        f"{field}: {text}",
        violations=[Violation(field, "BATCH_TOO_LARGE", text)],
        metadata={"field": field, "limit": str(limit)},
    )


async def until_drained(
    frames: AsyncIterator[UploadResultsRequest], drain: Drain
) -> AsyncGenerator[UploadResultsRequest]:
    """The frames until the stream ends; Unavailable SHUTTING_DOWN as soon as the server drains."""
    draining: asyncio.Future[Any] = asyncio.ensure_future(drain.wait())
    frame: asyncio.Future[Any] = draining
    try:
        while True:
            frame = asyncio.ensure_future(anext(frames))
            await asyncio.wait({frame, draining}, return_when=asyncio.FIRST_COMPLETED)
            if not frame.done():
                raise Unavailable(
                    "SHUTTING_DOWN",
                    "the server is being stopped; open the upload again and go on from GetUpload",
                    metadata={"service": "results"},
                )
            try:
                yield frame.result()
            except StopAsyncIteration:
                return
    finally:
        frame.cancel()
        draining.cancel()
