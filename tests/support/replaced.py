"""Files that are changed while a process watches them."""

from __future__ import annotations

from pathlib import Path


def replace_file(file: Path, content: str | bytes) -> None:
    """Give a file new content at once. A process that reads it meanwhile gets the old or the new content, and no part.

    The new file has the mode of the old one.
    """
    written = file.with_name(f"{file.name}.new")
    written.touch(mode=0o600)
    written.chmod(file.stat().st_mode & 0o777)
    written.write_bytes(content.encode() if isinstance(content, str) else content)
    written.replace(file)
