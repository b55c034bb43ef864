"""Exit codes of the `hutong` command. `hutong --help` and the README show this table."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from hutong_texts import english, tr


class ExitCode(IntEnum):
    """The command's exit codes. If several apply, the command exits with the smallest one that is not 0."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    NOT_RECOGNIZED = 4
    UNDETERMINED = 5
    NO_CONNECTION = 6
    RUNNING = 7
    DIFFERENT = 8
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: english("done; for verify: recognised, or no result is required"),
    ExitCode.FAILED: english("a service refused the call"),
    ExitCode.USAGE: english("wrong usage, or a file that cannot be written, read or understood"),
    ExitCode.PARTLY: english(
        "done, but some rows, policies or questions were rejected; each is reported with its reason"
    ),
    ExitCode.NOT_RECOGNIZED: english("verify: at least one person is not recognised"),
    ExitCode.UNDETERMINED: english("verify: undetermined; never a ground to refuse"),
    ExitCode.NO_CONNECTION: english(
        "a service is unreachable, overloaded or too slow; the same command can be run again"
    ),
    ExitCode.RUNNING: english("upload: another upload of the file or watch of the folder is running; nothing was done"),
    ExitCode.DIFFERENT: english("decisions replay: the present rules do not give the stored decision, which they made"),
    ExitCode.INTERRUPTED: english("stopped by Ctrl-C; an upload continues with --resume"),
}


def smallest(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the smallest code that is not 0; 0 if there is none."""
    return min(filter(None, codes), default=ExitCode.DONE)


def describe_exit_codes() -> str:
    """Return the table, one line for each code."""
    return "\n".join(f"  {code:<4}{tr(meaning)}" for code, meaning in MEANINGS.items())
