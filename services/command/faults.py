"""Errors that end a command. One line says what happened and what to do."""

from __future__ import annotations

import errno
from collections.abc import Mapping

import psycopg
from hutong_texts import Text, english, escape_controls
from hutong_texts.system import system_text
from sqlalchemy import exc

from services.runtime.configuration.unreadable import PERMISSIONS

_MISSING = english("make it, or name another")
_ADVICE: Mapping[int, Text] = {
    errno.ENOENT: _MISSING,
    errno.ENOTDIR: _MISSING,
    errno.EPERM: PERMISSIONS,
    errno.EACCES: PERMISSIONS,
    errno.EROFS: english("mount the file system for writing, or choose another folder"),
    errno.ENOSPC: english("free some space"),
    errno.EDQUOT: english("free some space"),
    errno.EMFILE: english("raise the limit of open files: ulimit -n, or LimitNOFILE= of systemd"),
    errno.ENFILE: english("raise the limit of open files of the system: sysctl fs.file-max"),
    errno.ENOMEM: english("give the process more memory"),
    errno.EAGAIN: english("raise the limit of processes and threads: ulimit -u, or TasksMax= of systemd"),
}
_CHECK = english("hutongd doctor says more")


def advise(error: OSError) -> Text:
    """Return what to do about an error of the system."""
    return _ADVICE.get(error.errno or 0, _CHECK)


def describe(error: BaseException) -> Text | None:
    """Return what happened and what to do about an error of the system or of a database.

    Return None for any other error, because it is a fault of this program.
    """
    if isinstance(error, BaseExceptionGroup):
        texts = [describe(one) for one in error.exceptions]
        return texts[0] if None not in texts else None
    if isinstance(error, OSError):
        cause = system_text(error)
        if error.filename is not None:
            cause = english("{file}: {cause}", file=escape_controls(str(error.filename)), cause=cause)
        return english("{cause}; {advice}", cause=cause, advice=advise(error))
    if isinstance(error, MemoryError):
        return english("{cause}; {advice}", cause=english("no memory is left"), advice=_ADVICE[errno.ENOMEM])
    if isinstance(error, exc.DatabaseError | psycopg.OperationalError):
        fault = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
        text = english("a database cannot be used: {cause}", cause=" ".join(str(fault).split()))
        return english("{cause}; {advice}", cause=text, advice=_CHECK)
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return english("{cause}; {advice}", cause=english("no thread can be started"), advice=_ADVICE[errno.EAGAIN])
    return None
