"""Secrets of tests in files that no other user can read."""

from __future__ import annotations

from pathlib import Path

PEPPER = b"p" * 32


def write_secret(path: Path, secret: bytes = PEPPER) -> Path:
    """Write a secret, by default a nation's pepper, so that a service accepts the file. Return its path."""
    path.touch(mode=0o600)
    path.write_bytes(secret)
    return path
