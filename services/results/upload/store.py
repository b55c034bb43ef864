"""Uploads in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from services.domain.errors import NotFound
from services.domain.instant import Instant
from services.domain.names import format_upload
from services.results.changelog.log import ChangeLog
from services.results.records.bulk import bulk_for
from services.results.records.horizon import read_horizon
from services.results.records.model import ReportKey
from services.results.records.partition_maintainer import PartitionMaintainer
from services.results.upload import tables
from services.results.upload.claims import find_foreign
from services.results.upload.commit import commit_batch
from services.results.upload.known_batches import KnownBatch, find_known
from services.results.upload.model import Acknowledgement, Upload, UploadPosition, ValidatedBatch
from services.storage.engine import Database


class UploadStore:
    """Uploads and the reports they bring. Every write is durable when it returns.

    Where `node` is named, reports that another node received first are told apart.
    """

    def __init__(
        self, database: Database, change_log: ChangeLog, partitions: PartitionMaintainer, node: str = ""
    ) -> None:
        self._database = database
        self._change_log = change_log
        self._partitions = partitions
        self._node = node

    async def commit_batch(self, position: UploadPosition, batch: ValidatedBatch, now: Instant) -> Acknowledgement:
        """Store what is good of a batch and move the upload on, all in one.

        OutOfRange for a gap, InvalidArgument for an id that was used for other tubes, RemovedMeanwhile.
        """
        await self._partitions.prepare([row.reference_time for row in batch.results])
        return await self._database.write(commit_batch, self._change_log, position, batch, now)

    async def find_known_batch(self, lab: str, digest: bytes) -> KnownBatch | None:
        """A batch that is known by its hash; None for one that is not."""
        return await self._database.read(find_known, lab, digest)

    async def find_report_keys(self, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """What is known of a laboratory's reports by their numbers."""
        return await self._database.read(
            lambda connection: bulk_for(connection).find_keys(connection, lab, report_numbers)
        )

    async def find_foreign(self, lab: str, report_numbers: Sequence[str]) -> dict[str, str]:
        """Those of a laboratory's reports that are stored and that another node received first, with its region."""
        if not self._node:
            return {}
        return await self._database.read(find_foreign, lab, report_numbers, self._node)

    async def get_horizon(self) -> Instant | None:
        """The instant before which retention has removed everything; None while it removed nothing."""
        return await self._database.read(read_horizon)

    async def get_upload(self, lab: str, upload_id: str) -> Upload:
        """How far an upload has come. NotFound when nothing of it was committed."""
        return await self._database.read(get_upload, lab, upload_id)


def get_upload(connection: Connection, lab: str, upload_id: str) -> Upload:
    """How far an upload has come. NotFound when nothing of it was committed."""
    uploads = tables.uploads
    query = select(uploads).where(uploads.c.lab == lab, uploads.c.upload_id == upload_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound.resource(format_upload(lab, upload_id))
    return Upload(*row)
