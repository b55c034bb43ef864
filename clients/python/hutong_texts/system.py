"""Causes that the operating system gives for a failed call, as texts with a Chinese translation."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from hutong_texts.text import Text, english

_CAUSES: Mapping[int, Text] = {
    errno.EPERM: english("Operation not permitted"),
    errno.ENOENT: english("No such file or directory"),
    errno.EIO: english("Input/output error"),
    errno.EBADF: english("Bad file descriptor"),
    errno.EACCES: english("Permission denied"),
    errno.EEXIST: english("File exists"),
    errno.ENOTDIR: english("Not a directory"),
    errno.EISDIR: english("Is a directory"),
    errno.EMFILE: english("Too many open files"),
    errno.EFBIG: english("File too large"),
    errno.ENOSPC: english("No space left on device"),
    errno.EROFS: english("Read-only file system"),
    errno.EDQUOT: english("Disk quota exceeded"),
    errno.ENAMETOOLONG: english("File name too long"),
    errno.ELOOP: english("Too many levels of symbolic links"),
    errno.ENOTEMPTY: english("Directory not empty"),
    errno.ENOEXEC: english("Exec format error"),
    errno.EADDRINUSE: english("Address already in use"),
    errno.EADDRNOTAVAIL: english("Cannot assign requested address"),
    errno.ENETUNREACH: english("Network is unreachable"),
    errno.EHOSTUNREACH: english("No route to host"),
    errno.ECONNREFUSED: english("Connection refused"),
    errno.ECONNRESET: english("Connection reset by peer"),
    errno.ETIMEDOUT: english("Connection timed out"),
}
"""The causes that people meet, in the words of glibc."""


def system_text(error: OSError) -> Text:
    """Return the cause of an error. A cause that is not in the table stays as the system words it."""
    known = _CAUSES.get(error.errno or 0)
    return known if known is not None else Text(error.strerror or str(error))
