"""Journal of an upload: a file beside the uploaded file that holds its progress, so that the upload can be resumed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from hutong_texts import tr

from hutong_client.private_files import replace_privately

SUFFIX = ".hutong-upload.json"
_SECONDS_BETWEEN_WRITES = 0.2
"""If the journal is a little behind, only a few batches are sent twice. Syncing every batch would take longer."""


@dataclass(frozen=True, slots=True)
class Journal:
    """Content of the journal. It holds no identity.

    Attributes:
        lab, timezone, region, encoding, item, column: the options of the upload; `item` and `column` join several with
            commas. A resumed upload must read the file with the same options.
        rejects: the file of rejected rows: a name if it is beside the journal, otherwise a whole path.
        upload_id: the upload's id at the service.
        sha256: hash of the uploaded file.
        acknowledged_offset: number of tubes that are durable.
        rejects_bytes, rejects_sha256: size and hash of the rejects file at that offset.
        rejected_rows, rejected_by_reason: rejected rows up to that offset.
        finished: whether the whole file was acknowledged.
    """

    lab: str
    timezone: str
    region: str
    rejects: str
    upload_id: str
    sha256: str
    acknowledged_offset: int = 0
    rejects_bytes: int = 0
    rejects_sha256: str = ""
    rejected_rows: int = 0
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    finished: bool = False
    encoding: str = ""
    item: str = ""
    column: str = ""


class CannotResume(Exception):
    """The journal does not match the file or the options. The text says what differs."""


def journal_path(file: Path) -> Path:
    """Return the path of a file's journal."""
    return file.with_name(file.name + SUFFIX)


def lock_path(file: Path) -> Path:
    """Return the path of the lock of a file's upload.

    The journal itself cannot be locked, because each write replaces it with another file.
    """
    return file.with_name(file.name + ".hutong-upload.lock")


def read_journal(path: Path, fresh: Journal) -> Journal | None:
    """Return the journal of an earlier upload; None if there is none.

    Args:
        path: the journal's path.
        fresh: the journal that a new upload would begin with. If `fresh` names no rejects file, the earlier journal may
            name any rejects file.

    Raises:
        CannotResume: the journal belongs to another file or to other options.
    """
    try:
        kept = Journal(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise CannotResume(
            tr("{path} is not a journal of an upload; remove it and upload without --resume", path=path)
        ) from None
    if kept.sha256 != fresh.sha256:
        raise CannotResume(tr("the file has changed since its upload began; upload it without --resume"))
    for option in ("lab", "timezone", "region", "encoding", "item", "column", "rejects"):
        if option == "rejects" and not fresh.rejects:
            continue
        if getattr(kept, option) != getattr(fresh, option):
            raise CannotResume(
                tr(
                    "the upload began with --{option} “{kept}”; resume it with the same",
                    option=option,
                    kept=getattr(kept, option),
                )
            )
    return kept


def hash_file(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class JournalWriter:
    """Writer that replaces the journal atomically, but not for every batch. Without a path the writer only counts."""

    def __init__(self, path: Path | None, journal: Journal, sync_rejects: Callable[[], tuple[int, str]]) -> None:
        self.journal = journal
        self._path = path
        self._sync_rejects = sync_rejects
        self._written = 0.0

    def note(self, acknowledged_offset: int, rejected: dict[str, int], rejected_rows: int) -> None:
        """Record an acknowledgement and its rejected rows."""
        reasons = self.journal.rejected_by_reason
        self.journal = replace(
            self.journal,
            acknowledged_offset=acknowledged_offset,
            rejected_rows=self.journal.rejected_rows + rejected_rows,
            rejected_by_reason={
                reason: reasons.get(reason, 0) + rejected.get(reason, 0) for reason in sorted({*reasons, *rejected})
            },
        )
        if time.monotonic() - self._written >= _SECONDS_BETWEEN_WRITES:
            self.write()

    def finish(self) -> None:
        """Record that the whole file is acknowledged."""
        self.journal = replace(self.journal, finished=True)
        self.write()

    def write(self) -> None:
        """Write the journal. The rejected rows that the journal counts are synced to the disk first."""
        size, sha256 = self._sync_rejects()
        self.journal = replace(self.journal, rejects_bytes=size, rejects_sha256=sha256)
        if self._path is None:
            return
        with replace_privately(self._path) as file:
            # JSON writes characters beyond ASCII as escapes, so the name of a file may have any bytes.
            json.dump(asdict(self.journal), file, indent=1)
        self._written = time.monotonic()
