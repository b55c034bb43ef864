"""One upload stream: frames in, judged ahead of the commit before them, acknowledged in order once they are durable."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from hutong.results.v1.upload_pb2 import Tube, TubeBatch, UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest, UploadResultsResponse

from services.domain.errors import DeadlineExceeded, FailedPrecondition, NotFound, Violation
from services.domain.instant import Instant
from services.domain.names import parse_lab
from services.domain.subject import Pepper
from services.results.fields import token
from services.results.labs.cache import KEPT_FOR
from services.results.labs.model import Lab
from services.results.labs.store import LabStore
from services.results.upload.claims import RemovedMeanwhile
from services.results.upload.commit import upload_gap
from services.results.upload.convert import acknowledgement_to_proto
from services.results.upload.dry_run import DryRun, DryRunBudget
from services.results.upload.frames import checked_batch, not_started, until_drained
from services.results.upload.known_batches import KnownBatch, batch_digest
from services.results.upload.model import Acknowledgement, UploadPosition, ValidatedBatch
from services.results.upload.quotas import Quotas
from services.results.upload.store import UploadStore
from services.results.upload.workers import ValidationPool
from services.runtime.clock import Clock
from services.runtime.server.service import Drain

JUDGED_AHEAD = 2
"""Batches that are judged, or wait judged, while the one before them commits. With that one and the one just read a
stream holds four in memory at most; beyond that gRPC's flow control holds the laboratory back."""

UPLOAD_METHOD = "/hutong.results.v1.UploadService/UploadResults"


@dataclass(frozen=True, slots=True)
class _Judgement:
    """A batch that is being judged, and how to have all of it judged once more."""

    batch: asyncio.Future[ValidatedBatch]
    anew: Callable[[], Awaitable[ValidatedBatch]]


_Judged = asyncio.Queue[_Judgement | Exception | None]
"""Batches in their order; the error that ends the stream, or None at its end."""
_Commit = Callable[[ValidatedBatch], Awaitable[Acknowledgement]]


@dataclass(frozen=True, slots=True)
class UploadReceiver:
    """What every upload of a process shares."""

    store: UploadStore
    labs: LabStore
    jurisdiction: str
    clock: Clock
    judges: ValidationPool
    quotas: Quotas
    drain: Drain
    pepper: Pepper
    start_seconds: float
    """How long a stream may stay without its first frame: until then it belongs to nobody and is counted for nobody."""
    dry_runs: DryRunBudget = field(default_factory=DryRunBudget)

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
        judging = self._judging(frames, lab, position, start.validate_only)
        with self._committing(position, start.validate_only) as commit:
            async with contextlib.aclosing(judging) as judgements:
                async for judgement in judgements:
                    batch = await judgement.batch
                    async with self.quotas.storing(uscc):
                        try:
                            acknowledgement = await commit(batch)
                        except RemovedMeanwhile:
                            acknowledgement = await commit(await judgement.anew())
                    fresh = "" if start.validate_only else token(self.jurisdiction, self.clock.now())
                    yield acknowledgement_to_proto(acknowledgement, fresh)
                    if not start.validate_only:
                        self.quotas.count_duplicates(uscc, acknowledgement.duplicate_count)

    @contextlib.contextmanager
    def _committing(self, position: UploadPosition, validate_only: bool) -> Iterator[_Commit]:
        """How the upload's batches are committed; with validate_only, what a commit would be answered."""
        if not validate_only:
            yield lambda batch: self.store.commit_batch(position, batch, self.clock.now())
            return
        with DryRun(position.lab, self.store, self.dry_runs) as dry_run:
            yield dry_run.compare

    async def _judging(
        self, frames: AsyncIterator[UploadResultsRequest], lab: Lab, position: UploadPosition, validate_only: bool
    ) -> AsyncGenerator[_Judgement]:
        """The batches of a stream in order, each judged or being judged; raises what ends the stream before its end."""
        judged: _Judged = asyncio.Queue(JUDGED_AHEAD)
        reader = asyncio.ensure_future(self._judge_frames(frames, lab, position, validate_only, judged))
        try:
            while (item := await judged.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
            while not judged.empty():
                unwanted = judged.get_nowait()
                if isinstance(unwanted, _Judgement):
                    unwanted.batch.cancel()

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
            return await self.labs.get_lab(uscc)
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
        judged: _Judged,
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
                if now - read_time >= KEPT_FOR:
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
        digest = b"" if validate_only else batch_digest(self.pepper, lab, tubes)
        known = await self.store.find_known_batch(lab.uscc, digest) if digest else None
        # What is known is not counted: it costs next to nothing, and duplicates have a limit of their own.
        judged = range(len(person_counts)) if known is None else known.unstored
        await self.quotas.admit(lab.uscc, sum(person_counts[index] for index in judged))
        anew = partial(self._judge, lab, now, offset, tubes, digest)
        if known is None:
            return _Judgement(asyncio.ensure_future(anew()), anew)
        rest = [batch.tubes[index] for index in known.unstored]
        return _Judgement(asyncio.ensure_future(self._judge_rest(lab, now, offset, person_counts, known, rest)), anew)

    async def _judge(self, lab: Lab, now: Instant, offset: int, tubes: bytes, digest: bytes) -> ValidatedBatch:
        return replace(await self.judges.judge(lab, now, offset, tubes), digest=digest)

    async def _judge_rest(
        self, lab: Lab, now: Instant, offset: int, person_counts: list[int], known: KnownBatch, rest: list[Tube]
    ) -> ValidatedBatch:
        """Judge those tubes of a known batch that are not stored."""
        places = known.unstored
        stored = ValidatedBatch(
            offset,
            person_counts,
            (),
            (),
            known_tubes=sorted(set(range(len(person_counts))) - set(places)),
            known_horizon=known.horizon,
        )
        if not rest:
            return stored
        judged = await self.judges.judge(lab, now, offset, TubeBatch(tubes=rest).SerializeToString())
        return replace(
            stored,
            results=[row._replace(tube_index=places[row.tube_index]) for row in judged.results],
            rejections=[replace(rejection, tube_index=places[rejection.tube_index]) for rejection in judged.rejections],
        )

    async def _committed_offset(self, position: UploadPosition) -> int:
        try:
            return (await self.store.get_upload(position.lab, position.upload_id)).committed_offset
        except NotFound:
            return 0
