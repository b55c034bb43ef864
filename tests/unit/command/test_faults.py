"""Errors of the system that end a command of `hutongd`."""

from __future__ import annotations

import errno

from services.command.faults import describe


def test_the_name_of_a_file_adds_no_line() -> None:
    """A folder can hold files of strangers, whose names could look like messages of the command."""
    error = OSError(errno.EACCES, "Permission denied", "results.db\nhutongd: \x1b[2Jdone")
    text = str(describe(error))
    assert text.startswith("results.db\\u000ahutongd: \\u001b[2Jdone: Permission denied; ")
    assert "\n" not in text
