"""The file of the nation's secret for subject keys."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from services.domain.subject import Pepper
from services.runtime.configuration.variables import BadSetting

_LEAST_BYTES = 32
"""The length of a SHA-256 hash. A shorter secret would be easier to guess than the hash."""


def read_pepper(path: Path) -> Pepper:
    """Return the secret in a file.

    Raises:
        BadSetting: the file cannot be read, or holds less than 32 bytes.
    """
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise BadSetting(f"HUTONG_PEPPER_FILE cannot be read: {error.strerror}") from None
    if len(secret) < _LEAST_BYTES:
        raise BadSetting(f"HUTONG_PEPPER_FILE holds less than {_LEAST_BYTES} bytes")
    return Pepper(secret)


def read_or_make_pepper(directory: Path) -> Pepper:
    """Return the secret of an embedded node. The first start makes it; only the owner of its file can read it.

    Raises:
        BadSetting: the directory cannot be used, or `read_pepper` raises the error.
    """
    path = directory / "pepper"
    try:
        if not path.exists():
            _make_pepper(path)
    except OSError as error:
        raise BadSetting(f"HUTONG_DATA_DIR cannot be used: {directory}: {error.strerror}") from None
    return read_pepper(path)


def _make_pepper(path: Path) -> None:
    """Create the secret atomically, because services that start at the same time must all read the same one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secrets.token_bytes(_LEAST_BYTES))
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
