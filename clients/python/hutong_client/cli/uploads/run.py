"""Run one upload of a file for `hutong upload`: send it, write its journal and report the outcome."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from hutong_texts import english, escape_controls, tr
from hutong_texts.system import system_text

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.failures import FAILURES, describe_failure, say_failure
from hutong_client.cli.output import echo, say
from hutong_client.cli.uploads.journal import Journal, JournalWriter, journal_path
from hutong_client.cli.uploads.progress import show_progress
from hutong_client.cli.uploads.source import Source, describe_read_only
from hutong_client.tables.batches import Origin, gather, skip_tubes
from hutong_client.tables.open import open_table
from hutong_client.tables.pools.scattered import ScatteredCodes
from hutong_client.tables.rejected.layouts import Rejected, layout_of
from hutong_client.tables.rejected.rejects import RejectsFile, count_reasons, find_rejected, part_path
from hutong_client.tables.rejected.wording import name_reason
from hutong_client.tables.rejected.workbook import write_workbook
from hutong_client.tables.tubes import Reading, read_tubes
from hutong_client.upload import Batch, UploadSession

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


NOTHING_UPLOADED: Mapping[str, Any] = {
    "error": "",
    "upload": "",
    "validate_only": False,
    "accepted": 0,
    "duplicates": 0,
    "rejected": 0,
    "rejected_by_reason": {},
    "rejects_file": "",
    "notices": [],
}
"""The outcome of a file of which nothing was uploaded. It has the same names as every other outcome."""


@dataclass(slots=True)
class Counts:
    """Counts of a file's persons by outcome."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0


class UploadRun:
    """One run of `hutong upload` over a file."""

    def __init__(self, source: Source, session: UploadSession, journal: Journal, validate_only: bool) -> None:
        self._file = source.file
        self._beside = source.beside
        self.notices: Sequence[str] = ()
        self._rejects_path = source.beside.parent / journal.rejects
        self._part_path = part_path(self._rejects_path)
        self._session = session
        self._journal = journal
        self._validate_only = validate_only
        self._counts = Counts()

    def send(self, reading: Reading, batch_size: int) -> None:
        """Send the tubes that are not acknowledged yet. Write rejected rows and the journal as answers arrive."""
        begun = self._journal.acknowledged_offset
        with ExitStack() as stack:
            table = stack.enter_context(open_table(self._file, reading.vocabulary, self._journal.encoding))
            stack.callback(self._remove_part)
            rejects = stack.enter_context(RejectsFile(self._part_path, layout_of(table), self._journal.rejects_bytes))
            writer = JournalWriter(
                None if self._validate_only else journal_path(self._beside), self._journal, rejects.sync
            )
            progress = stack.enter_context(show_progress(self._beside.name, self._file))
            stack.callback(lambda: setattr(self, "_journal", writer.journal))
            stack.callback(writer.write)
            writer.write()
            unsent: list[Origin] = []
            scattered = ScatteredCodes(lambda: open_table(self._file, reading.vocabulary, self._journal.encoding))
            items = skip_tubes(read_tubes(table, reading, scattered), begun)
            for sent in self._session.send(_sendable(gather(items, batch_size), unsent), begun):
                response = sent.response
                self._counts.accepted += response.accepted_count
                self._counts.duplicates += response.duplicate_count
                offset = sent.offset + len(sent.batch.tubes)
                self._keep(find_rejected(sent.batch.note, response.rejections), rejects, writer, offset)
                progress.update(progress.task_ids[0], completed=sent.batch.note.tubes[-1].rows[-1].number)
            for origin in unsent:
                self._keep(find_rejected(origin, ()), rejects, writer, writer.journal.acknowledged_offset)
            if writer.journal.rejected_rows and self._part_path != self._rejects_path:
                rejects.sync()
                write_workbook(self._part_path, self._rejects_path)
            writer.finish()

    def _remove_part(self) -> None:
        if self._journal.finished and self._part_path != self._rejects_path:
            self._part_path.unlink(missing_ok=True)

    def report_interruption(self) -> None:
        """Print how to resume the upload, if tubes were acknowledged."""
        tubes = self._journal.acknowledged_offset
        if tubes and not self._validate_only:
            say(
                tr(
                    "Interrupted: {tubes} tubes are stored. The same command with --resume continues from there.",
                    tubes=tubes,
                )
            )

    def report_damage(self) -> None:
        """Print how many tubes of a damaged file are stored.

        The repaired file has another hash, so its upload cannot be resumed.
        """
        tubes = self._journal.acknowledged_offset
        if tubes and not self._validate_only:
            say(
                tr(
                    "{tubes} tubes before it are stored. Upload the repaired file without --resume; none "
                    "is stored twice.",
                    tubes=tubes,
                )
            )

    def describe_failure(self, error: OSError) -> str:
        """Describe a failure to read or write a file during the upload, and what to do."""
        folder = self._rejects_path.parent
        if hint := describe_read_only(error, folder):
            return hint
        if error.errno in _FULL:
            failure = tr("there is no space left in {parent} for rejected rows and the journal", parent=folder)
        else:
            failure = f"{escape_controls(str(error.filename or self._file))}: {tr(system_text(error))}"
        if self._validate_only:
            return tr("{failure}; fix that and run the same command again", failure=failure)
        return tr(
            "{failure}; fix that and run the same command with --resume; stored tubes are not sent again",
            failure=failure,
        )

    def finish(self) -> None:
        """Read the counts of the whole upload from the service."""
        stored = None if self._validate_only else self._session.get()
        if stored:
            # The service counts a batch once, even if it was sent twice.
            self._counts = Counts(stored.accepted_count, stored.duplicate_count)
        self._counts.rejected = self._journal.rejected_rows

    def outcome(self) -> dict[str, Any]:
        """Return the outcome of the upload, with stable names."""
        return {
            **NOTHING_UPLOADED,
            "upload": "" if self._validate_only else self._session.name,
            "validate_only": self._validate_only,
            "accepted": self._counts.accepted,
            "duplicates": self._counts.duplicates,
            "rejected": self._counts.rejected,
            "rejected_by_reason": self._journal.rejected_by_reason,
            "rejects_file": str(self._rejects_path) if self._counts.rejected else "",
            "notices": list(self.notices),
        }

    def report(self, *, silent: bool) -> ExitCode:
        """Print the outcome of the upload, unless it is silent, and return the exit code."""
        journal, counts = self._journal, self._counts
        if not silent:
            counted = english("accepted {accepted}, duplicates {duplicates}, rejected {rejected}")
            if self._validate_only:
                counted = english("would be accepted {accepted}, duplicates {duplicates}, rejected {rejected}")
            echo(tr(counted, accepted=counts.accepted, duplicates=counts.duplicates, rejected=counts.rejected))
            for reason, rows in journal.rejected_by_reason.items():
                echo(f"  {rows:>8}  {name_reason(reason)} ({reason})")
            if counts.rejected:
                echo(tr("The rejected rows and their reasons are in {rejects_path}", rejects_path=self._rejects_path))
        return ExitCode.PARTLY if counts.rejected else ExitCode.DONE

    @staticmethod
    def _keep(rejected: list[Rejected], rejects: RejectsFile, writer: JournalWriter, offset: int) -> None:
        rejects.write(rejected)
        writer.note(offset, count_reasons(rejected), len(rejected))


def report_upload(upload: Callable[[], UploadRun | ExitCode], *, silent: bool) -> tuple[ExitCode, dict[str, Any]]:
    """Upload one file of several, and print its outcome or its failure. Return its exit code and its outcome.

    If nothing was uploaded, the outcome says why.
    """
    try:
        run = upload()
        if isinstance(run, ExitCode):
            return run, dict(NOTHING_UPLOADED)
        return run.report(silent=silent), run.outcome()
    except BrokenPipeError:
        raise
    except FAILURES as error:
        return say_failure(error), {**NOTHING_UPLOADED, "error": describe_failure(error)}


def _sendable(batches: Iterator[Batch[Origin]], unsent: list[Origin]) -> Iterator[Batch[Origin]]:
    """Yield the batches that have tubes. Rows after the last tube are added to `unsent`."""
    for batch in batches:
        if batch.tubes:
            yield batch
        else:
            unsent.append(batch.note)
