"""The options of an upload, and the journal with which it begins or goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from hutong_texts import tr

from hutong_client.cli.output import say
from hutong_client.cli.uploads.journal import CannotResume, Journal, journal_path, read_journal
from hutong_client.cli.uploads.source import Source
from hutong_client.tables.open import detect_format
from hutong_client.tables.rejected.rejects import NotFree, choose_rejects_path, is_intact, part_path
from hutong_client.tables.tubes import Reading
from hutong_client.upload import MAX_TUBES

_EXTENSIONS = {"ndjson": ".ndjson", "csv": ".csv", "xlsx": ".xlsx", "old": ".xlsx"}
"""The format of the uploaded file → the extension of its rejects file."""


@dataclass(frozen=True, slots=True)
class Order:
    """The options of a command's uploads. They are the same for all files of the command.

    With `unattended`, an upload that cannot be resumed begins anew.
    """

    lab: str
    timezone: str
    reading: Reading
    encoding: str
    resume: bool = False
    unattended: bool = False
    validate_only: bool = False
    rejects_path: Path | None = None
    work_dir: Path | None = None
    batch_size: int = MAX_TUBES


def open_journal(source: Source, fresh: Journal, order: Order) -> Journal:
    """Return the journal of this upload, with the path of its rejects file.

    With `order.resume`, the journal of the earlier run is returned if there is one. Otherwise `fresh` is returned.

    Raises:
        CannotResume: the journal or the rejects file of the earlier run does not match.
        NotFree: the requested path of the rejects file cannot be used.
    """
    file = source.beside
    asked, resume = order.rejects_path, order.resume
    if asked:
        fresh = replace(fresh, rejects=_name_beside(file, asked.resolve()))
    kept = None
    if resume:
        try:
            kept = _read_kept(file, fresh)
        except CannotResume:
            if not order.unattended:
                raise
    if kept and (
        kept.finished or is_intact(part_path(file.parent / kept.rejects), kept.rejects_bytes, kept.rejects_sha256)
    ):
        return _with_free_workbook(file, kept)
    if resume and not kept and not order.unattended:
        say(tr("There is no earlier upload of this file; a new one begins."))
    # A dry run has another name for its rejects file, so that it cannot overwrite the rejects file of an interrupted
    # upload.
    extension = _EXTENSIONS[detect_format(source.file)]
    path = choose_rejects_path(file, asked, ".trial.rejects" if order.validate_only else ".rejects", extension)
    if path == journal_path(file).resolve():
        raise NotFree(tr("{asked} is the journal of the upload; name another file", asked=asked))
    return replace(kept or fresh, rejects=_name_beside(file, path), rejects_bytes=0, rejects_sha256="")


def _read_kept(file: Path, fresh: Journal) -> Journal | None:
    """Return the journal of the earlier run; None if there is none.

    Raises:
        CannotResume: the journal or its rejects file does not match.
    """
    kept = read_journal(journal_path(file), fresh)
    if kept and not kept.finished and kept.rejected_rows:
        path = part_path(file.parent / kept.rejects)
        if not is_intact(path, kept.rejects_bytes, kept.rejects_sha256):
            raise CannotResume(tr("{path} is gone or was changed; upload the file without --resume", path=path))
    return kept


def _with_free_workbook(file: Path, kept: Journal) -> Journal:
    """Return the journal of an upload to resume, with a new name for the rejects file if its workbook exists already.

    The workbook exists if the upload was killed after writing it. A clerk may be correcting the rows in it.
    """
    path = file.parent / kept.rejects
    if kept.finished or part_path(path) == path or not path.exists():
        return kept
    free = next(path for number in count(2) if not (path := path.with_suffix(f".{number}.xlsx")).exists())
    part_path(file.parent / kept.rejects).rename(part_path(free))
    return replace(kept, rejects=_name_beside(file, free))


def _name_beside(file: Path, path: Path) -> str:
    """Return the path's name if it is beside the file, so that both can be moved together; otherwise the path."""
    beside = path.parent.resolve() == file.parent.resolve()
    return path.name if beside else str(path)
