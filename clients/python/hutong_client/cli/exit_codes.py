"""What the `hutong` command exits with. `hutong --help` and the README show this table."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The command's exit codes; of several that fit, the smallest but 0 is taken."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    NOT_RECOGNIZED = 4
    UNDETERMINED = 5
    NO_CONNECTION = 6
    RUNNING = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done; for verify: recognised, or no result is asked for",
    ExitCode.FAILED: "a service refused the call",
    ExitCode.USAGE: "wrong usage, or a file that cannot be written or read as what it ought to be",
    ExitCode.PARTLY: "done, but some rows, policies or questions were rejected; each is told with its reason",
    ExitCode.NOT_RECOGNIZED: "verify: somebody is not recognised",
    ExitCode.UNDETERMINED: "verify: it cannot be known now; never a ground to refuse",
    ExitCode.NO_CONNECTION: "a service cannot be reached, or has no time; the same command can be given again",
    ExitCode.RUNNING: "upload: another upload of the same file is running; nothing was done",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C; an upload goes on with --resume",
}


def describe_exit_codes() -> str:
    """The table, one line each."""
    return "\n".join(f"  {code:<4}{meaning}" for code, meaning in MEANINGS.items())
