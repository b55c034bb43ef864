"""Uploads in the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain

from sqlalchemy import Connection, select

from services.domain.errors import NotFound, Unavailable
from services.domain.instant import Instant
from services.domain.names import format_upload
from services.results.changelog.log import ChangeLog
from services.results.records.bulk import bulk_for
from services.results.records.horizon import read_horizon
from services.results.records.model import ReportKey
from services.results.records.new_results import columns_of
from services.results.records.partition_maintainer import PartitionMaintainer
from services.results.upload import tables
from services.results.upload.claims import StoredReports, find_stored
from services.results.upload.commits.commit import commit_batch
from services.results.upload.commits.group import NotAllNew, commit_group
from services.results.upload.known_batches import KnownBatch, find_known
from services.results.upload.model import Acknowledgement, Upload, UploadPosition, ValidatedBatch
from services.storage.engine import Database


class UploadStore:
    """Uploads and their reports. Every write is durable when it returns.

    If `node` is given, `find_stored` also returns which reports another node received.
    """

    def __init__(
        self, database: Database, change_log: ChangeLog, partitions: PartitionMaintainer, node: str = ""
    ) -> None:
        self._database = database
        self._change_log = change_log
        self._partitions = partitions
        self._node = node

    async def commit_batch(self, position: UploadPosition, batch: ValidatedBatch, now: Instant) -> Acknowledgement:
        """Commit a batch in one transaction, as `commit.commit_batch` describes.

        Raises:
            OutOfRange: UPLOAD_GAP.
            InvalidArgument: UPLOAD_ID_REUSED.
            RemovedMeanwhile: validate the batch again.
        """
        await self._partitions.prepare(columns_of(batch.results).reference_times)
        return await self._database.write(commit_batch, self._change_log, position, batch, now)

    async def commit_group(
        self, position: UploadPosition, batches: Sequence[ValidatedBatch], now: Instant
    ) -> list[Acknowledgement] | None:
        """Commit batches in one transaction, as `group.commit_group` describes.

        Return None if nothing was stored, because the batches must be committed one by one.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE; the transaction may or may not have been committed.
        """
        try:
            times = chain.from_iterable(columns_of(batch.results).reference_times for batch in batches)
            await self._partitions.prepare(list(times))
            return await self._database.write(commit_group, self._change_log, position, batches, now)
        except Unavailable:
            raise
        except NotAllNew:
            return None
        except Exception:
            # The batch that fails, and only this batch, fails again by itself.
            if len(batches) == 1:
                raise
            return None

    async def find_known_batch(self, lab: str, digests: Sequence[bytes]) -> KnownBatch | None:
        """Return a known batch by its digest under each key version; None if it is not known."""
        return await self._database.read(find_known, lab, digests)

    async def find_report_keys(self, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Return the keys of a laboratory's reports by report number.

        The result has no entry for a report that is not stored.
        """
        return await self._database.read(
            lambda connection: bulk_for(connection).find_keys(connection, lab, report_numbers)
        )

    async def find_stored(self, lab: str, to_revise: Collection[str], conflicting: Collection[str]) -> StoredReports:
        """Return what the keys of a laboratory's stored reports do not contain.

        Contents are returned for conflicting reports only.
        """
        return await self._database.read(find_stored, lab, to_revise, conflicting, self._node)

    async def get_horizon(self) -> Instant | None:
        """Return the instant before which retention has removed everything; None if it has removed nothing."""
        return await self._database.read(read_horizon)

    async def get_upload(self, lab: str, upload_id: str) -> Upload:
        """Return the state of an upload.

        Raises:
            NotFound: nothing of the upload was committed.
        """
        return await self._database.read(get_upload, lab, upload_id)


def get_upload(connection: Connection, lab: str, upload_id: str) -> Upload:
    """Return the state of an upload.

    Raises:
        NotFound: nothing of the upload was committed.
    """
    uploads = tables.uploads
    query = select(uploads).where(uploads.c.lab == lab, uploads.c.upload_id == upload_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound.resource(format_upload(lab, upload_id))
    return Upload(*row)
