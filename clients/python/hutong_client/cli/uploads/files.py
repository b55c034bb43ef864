"""The files that `hutong upload` is given: paths, folders and patterns with wildcards."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem
from hutong_texts import list_words, tr

from hutong_client.cli.output import say

_TABLES = frozenset(
    {".csv", ".txt", ".tsv", ".xlsx", ".xlsm", ".xls", ".xlsb", ".ods", ".et", ".json", ".ndjson", ".jsonl"}
)
"""Extensions of the files of a folder that are uploaded. A file that is named by its own path may have any
extension."""
_MOST_NAMED = 10
"""The most files that a message lists."""
_OWN = re.compile(r"\.rejects(\.\d+)?\.(csv|xlsx|ndjson)(\.part\.csv|\.new)?$|\.hutong-upload\.(json|lock)|^~\$|^\.")
"""Matches names of three kinds of files: those that an upload writes beside its file, locks of spreadsheet programs,
and hidden files."""


def find_files(given: Iterable[str]) -> list[Path]:
    """Return the files of paths, folders and patterns, each once. The files of a folder or a pattern are sorted.

    "-" is standard input. Files that an upload has written are left out of folders and patterns. A file that is named
    by its own path is always taken.

    Raises:
        click.BadParameter: a path does not exist, or a folder or pattern has no file to upload.
    """
    found: dict[Path, None] = {}
    for text in given:
        path = Path(text)
        if text == "-":
            found[path] = None
            continue
        if path.is_dir():
            files = list_files(path)
            say_left_out(path, set())
        elif path.exists():
            found[path] = None
            continue
        elif glob.has_magic(text):
            files = [file for file in map(Path, sorted(glob.glob(text))) if _is_given(file)]
        else:
            raise click.BadParameter(tr("File {value!r} does not exist.", value=text), param_hint="'FILE'")
        if not files:
            raise click.BadParameter(tr("{value!r} has no file to upload.", value=text), param_hint="'FILE'")
        found |= dict.fromkeys(files)
    return list(found)


def list_files(folder: Path) -> list[Path]:
    """Return the files of a folder that can be tables, sorted, without those that an upload has written."""
    return [file for file in sorted(folder.iterdir()) if file.suffix.lower() in _TABLES and _is_given(file)]


def complete_file(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete the path of a file."""
    return [CompletionItem(incomplete, type="file")]


def say_left_out(folder: Path, named: set[Path]) -> None:
    """Print the files of a folder that are left out because of their extensions, unless `named` has them.

    Add these files to `named`.
    """
    left_out = {file for file in folder.iterdir() if file.suffix.lower() not in _TABLES and _is_given(file)} - named
    if left_out:
        shown = list_words(file.name for file in sorted(left_out)[:_MOST_NAMED])
        shown += tr(" and {count} more", count=len(left_out) - _MOST_NAMED) if len(left_out) > _MOST_NAMED else ""
        say(tr("Left out, because their names do not end as those of tables do: {files}", files=shown))
    named |= left_out


def _is_given(file: Path) -> bool:
    """Check whether a path is a file that no upload has written."""
    return file.is_file() and not _OWN.search(file.name)


def find_folder(given: Iterable[str]) -> Path:
    """Return the one folder to watch.

    Raises:
        click.BadParameter: something else than one folder is given.
    """
    folders = [Path(text) for text in given]
    if len(folders) != 1 or not folders[0].is_dir():
        raise click.BadParameter(tr("give one folder with --watch"), param_hint="'FILE'")
    return folders[0]
