"""Receives an upload.

Batches are validated while earlier batches commit, and are acknowledged in order once they are durable.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeGuard

from hutong.results.v1.upload_pb2 import Tube, TubeBatch, UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest, UploadResultsResponse
from hutong_texts import english

from services.domain.errors import DeadlineExceeded, FailedPrecondition, NotFound, Violation
from services.domain.instant import Instant
from services.domain.names import DEFAULT_ITEM, parse_items, parse_lab
from services.domain.subject import Pepper
from services.results.fields import token
from services.results.labs.cache import KEPT_FOR
from services.results.labs.model import Lab
from services.results.labs.store import LabStore
from services.results.upload.claims import RemovedMeanwhile
from services.results.upload.commits.commit import upload_gap
from services.results.upload.commits.group import may_be_grouped, may_join
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
from services.runtime.tracing.spans import message_span

VALIDATED_AHEAD = 2
"""How many batches wait in validation, or validated, while earlier batches commit. Beside them a stream holds the
batches that commit, the batch that comes next, and the batch just read: at most seven in memory, and four while the
first batch commits. Flow control then makes the laboratory wait."""

UPLOAD_METHOD = "/hutong.results.v1.UploadService/UploadResults"


@dataclass(frozen=True, slots=True)
class _PendingBatch:
    """A batch that is being validated, and a function that validates all of the batch again."""

    batch: asyncio.Future[ValidatedBatch]
    revalidate: Callable[[], Awaitable[ValidatedBatch]]


_Item: TypeAlias = _PendingBatch | Exception | None
_Queue = asyncio.Queue[_Item]
"""The batches in order. After them comes the error that ends the stream, or None if the stream ends without an
error."""
_Commit = Callable[[ValidatedBatch], Awaitable[Acknowledgement]]


def _may_join(item: _Item, group: Sequence[_PendingBatch]) -> TypeGuard[_PendingBatch]:
    """Return whether the next item is a validated batch that can be committed together with the group."""
    if not isinstance(item, _PendingBatch) or not item.batch.done():
        return False
    if item.batch.cancelled() or item.batch.exception() is not None:
        return False
    return may_join([pending.batch.result() for pending in group], item.batch.result())


def _batch_span(batches: Sequence[ValidatedBatch]) -> AbstractContextManager[object]:
    tubes = sum(len(batch.person_counts) for batch in batches)
    return message_span("results", "upload batch", {"hutong.batch.size": tubes})


@dataclass(frozen=True, slots=True)
class UploadReceiver:
    """Receives uploads. All uploads of a process share one receiver."""

    store: UploadStore
    labs: LabStore
    jurisdiction: str
    clock: Clock
    pool: ValidationPool
    quotas: Quotas
    drain: Drain
    pepper: Pepper
    dry_runs: DryRunBudget
    start_seconds: float
    """How long a stream may delay its first frame. Until then the stream counts against no laboratory's limits."""

    async def receive(self, frames: AsyncIterator[UploadResultsRequest]) -> AsyncIterator[UploadResultsResponse]:
        """Receive an upload from its first frame to its last, and yield one response for each batch."""
        start = await self._first_frame(frames)
        # The laboratory is checked before the quotas, because callers could name any number of laboratories. The quotas
        # therefore keep counts only for registered laboratories.
        lab = await self._require_lab(parse_lab(start.lab, "start.lab"))
        async with self.quotas.stream(lab.uscc):
            async for response in self._receive_batches(start, lab, frames):
                yield response

    async def _receive_batches(
        self, start: UploadStart, lab: Lab, frames: AsyncIterator[UploadResultsRequest]
    ) -> AsyncIterator[UploadResultsResponse]:
        uscc = lab.uscc
        position = UploadPosition(uscc, start.upload_id, self.jurisdiction)
        admitted = parse_items(start.items, "start.items", (DEFAULT_ITEM,))
        validating = self._validating(frames, lab, admitted, position, start.validate_only)
        with self._committing(position, start.validate_only) as commit:
            async with contextlib.aclosing(validating) as groups:
                async for group in groups:
                    committing = self._commit_group(position, group, commit, start.validate_only)
                    async with contextlib.aclosing(committing) as acknowledgements:
                        async for acknowledgement in acknowledgements:
                            fresh = "" if start.validate_only else token(self.jurisdiction, acknowledgement.position)
                            yield acknowledgement_to_proto(acknowledgement, fresh)
                            if not start.validate_only:
                                self.quotas.count_duplicates(uscc, acknowledgement.duplicate_count)

    async def _commit_group(
        self, position: UploadPosition, group: Sequence[_PendingBatch], commit: _Commit, validate_only: bool
    ) -> AsyncGenerator[Acknowledgement]:
        """Commit validated batches, together if possible, and yield their acknowledgements in order."""
        batches = [pending.batch.result() for pending in group]
        if not validate_only and position.reports_are_new and may_be_grouped(batches[0]):
            async with self.quotas.storing(position.lab):
                with _batch_span(batches):
                    acknowledgements = await self.store.commit_group(position, batches, self.clock.now())
            if acknowledgements is not None:
                for acknowledgement in acknowledgements:
                    yield acknowledgement
                return
        for pending, batch in zip(group, batches, strict=True):
            async with self.quotas.storing(position.lab):
                with _batch_span([batch]):
                    try:
                        acknowledgement = await commit(batch)
                    except RemovedMeanwhile:
                        acknowledgement = await commit(await pending.revalidate())
            yield acknowledgement

    @contextlib.contextmanager
    def _committing(self, position: UploadPosition, validate_only: bool) -> Iterator[_Commit]:
        """Yield the function that commits a batch.

        With validate_only, the function only returns what a commit would return.
        """
        if not validate_only:
            yield lambda batch: self.store.commit_batch(position, batch, self.clock.now())
            return
        with DryRun(position.lab, self.store, self.dry_runs) as dry_run:
            yield dry_run.compare

    async def _validating(
        self,
        frames: AsyncIterator[UploadResultsRequest],
        lab: Lab,
        items: Sequence[str],
        position: UploadPosition,
        validate_only: bool,
    ) -> AsyncGenerator[list[_PendingBatch]]:
        """Yield the batches of a stream in order, once they are validated. Raise the error that ends the stream.

        Batches that can be committed together come in one group. A group never waits for a further batch.
        """
        queue: _Queue = asyncio.Queue(VALIDATED_AHEAD)
        taken: deque[_Item] = deque()
        reader = asyncio.ensure_future(self._validate_frames(frames, lab, items, position, validate_only, queue))
        try:
            while (item := taken.popleft() if taken else await queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                await item.batch
                group = [item]
                while not validate_only and not taken and not queue.empty():
                    next_ = queue.get_nowait()
                    if _may_join(next_, group):
                        group.append(next_)
                    else:
                        taken.append(next_)
                yield group
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
            while not queue.empty():
                taken.append(queue.get_nowait())
            for unwanted in taken:
                if isinstance(unwanted, _PendingBatch):
                    unwanted.batch.cancel()

    async def _first_frame(self, frames: AsyncIterator[UploadResultsRequest]) -> UploadStart:
        try:
            async with (
                asyncio.timeout(self.start_seconds) as limit,
                contextlib.aclosing(until_drained(frames, self.drain)) as arriving,
            ):
                frame = await anext(arriving)
        except StopAsyncIteration:
            raise not_started(english("the stream ended before its first frame")) from None
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                "DEADLINE",
                english("no first frame came within {start_seconds:g} s", start_seconds=self.start_seconds),
                metadata={"method": UPLOAD_METHOD},
            ) from None
        if frame.WhichOneof("frame") != "start":
            raise not_started(english("the first frame must be start"))
        return frame.start

    async def _require_lab(self, uscc: str) -> Lab:
        try:
            return await self.labs.get_lab(uscc)
        except NotFound:
            name = f"labs/{uscc}"
            raise FailedPrecondition(
                "LAB_UNKNOWN",
                english("{name} is not registered at this node", name=name),
                violations=[
                    Violation("start.lab", "LAB_UNKNOWN", english("register it with LabService.CreateLab"), name)
                ],
                metadata={"lab": name},
            ) from None

    async def _validate_frames(
        self,
        frames: AsyncIterator[UploadResultsRequest],
        lab: Lab,
        items: Sequence[str],
        position: UploadPosition,
        validate_only: bool,
        queue: _Queue,
    ) -> None:
        """Start the validation of each batch in order. At the end, queue the error of the stream, or None."""
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
                    # The laboratory is read again from time to time, because it may be suspended while a stream lasts
                    # for days.
                    lab, read_time = await self._require_lab(lab.uscc), now
                async with self.quotas.reading(lab.uscc):
                    pending = await self._begin_validation(lab, items, now, batch, validate_only)
                await queue.put(pending)
        except Exception as error:  # noqa: BLE001 - raised again by _validating
            await queue.put(error)
        else:
            await queue.put(None)

    async def _begin_validation(
        self, lab: Lab, items: Sequence[str], now: Instant, batch: TubeBatch, validate_only: bool
    ) -> _PendingBatch:
        """Start the validation of a batch in the background.

        If the batch is known, only the tubes that are not stored are validated.
        """
        person_counts = [len(tube.persons) for tube in batch.tubes]
        offset = batch.offset
        batch.ClearField("offset")
        tubes = batch.SerializeToString()
        digests = [] if validate_only else [batch_digest(one, lab, items, tubes) for one in self.pepper.versions]
        known = await self.store.find_known_batch(lab.uscc, digests) if digests else None
        # Stored tubes do not count here, because they cost hardly any work. Duplicates have a limit of their own.
        unvalidated = range(len(person_counts)) if known is None else known.unstored
        await self.quotas.admit(lab.uscc, sum(person_counts[index] for index in unvalidated))
        revalidate = partial(self._validate, lab, items, now, offset, tubes, digests[0] if digests else b"")
        if known is None:
            return _PendingBatch(asyncio.ensure_future(revalidate()), revalidate)
        unstored = [batch.tubes[index] for index in known.unstored]
        validating = asyncio.ensure_future(
            self._validate_unstored(lab, items, now, offset, person_counts, known, unstored)
        )
        return _PendingBatch(validating, revalidate)

    async def _validate(
        self, lab: Lab, items: Sequence[str], now: Instant, offset: int, tubes: bytes, digest: bytes
    ) -> ValidatedBatch:
        return replace(await self.pool.validate(lab, now, offset, tubes, items), digest=digest)

    async def _validate_unstored(
        self,
        lab: Lab,
        items: Sequence[str],
        now: Instant,
        offset: int,
        person_counts: list[int],
        known: KnownBatch,
        unstored: list[Tube],
    ) -> ValidatedBatch:
        """Validate the tubes of a known batch that are not stored."""
        indexes = known.unstored
        stored = ValidatedBatch(
            offset,
            person_counts,
            (),
            (),
            known_tubes=sorted(set(range(len(person_counts))) - set(indexes)),
            known_horizon=known.horizon,
        )
        if not unstored:
            return stored
        validated = await self.pool.validate(lab, now, offset, TubeBatch(tubes=unstored).SerializeToString(), items)
        return replace(
            stored,
            results=[row._replace(tube_index=indexes[row.tube_index]) for row in validated.results],
            rejections=[
                replace(rejection, tube_index=indexes[rejection.tube_index]) for rejection in validated.rejections
            ],
        )

    async def _committed_offset(self, position: UploadPosition) -> int:
        try:
            return (await self.store.get_upload(position.lab, position.upload_id)).committed_offset
        except NotFound:
            return 0
