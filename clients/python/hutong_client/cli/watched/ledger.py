"""The contents that were sent from a folder, in a file of the folder. It holds no identity."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hutong_client.private_files import open_privately

NAME = ".hutong-sent.ndjson"


class Ledger:
    """One line of NDJSON for each content that was sent, by its hash and its laboratory.

    Args:
        path: the file. It is made if it does not exist.
        lab: the laboratory. Contents that were sent for another laboratory do not count.

    Raises:
        OSError: the file cannot be read or written.
    """

    def __init__(self, path: Path, lab: str) -> None:
        self._path = path
        self._lab = lab
        with open(path, "ab", opener=open_privately):
            pass
        self._names = {entry["sha256"]: entry["file"] for entry in self._read() if entry["lab"] == lab}

    def find(self, sha256: str) -> str | None:
        """Return the name under which a content was sent; None if it was not sent."""
        return self._names.get(sha256)

    def add(self, sha256: str, file: str, upload: str) -> None:
        """Record that a content was sent. The record is on the disk when this returns."""
        entry = {"lab": self._lab, "sha256": sha256, "file": file, "upload": upload}
        # If a kill has cut the last line, a line break before the entry ends that line.
        text = ("" if self._is_whole() else "\n") + json.dumps(entry, ensure_ascii=False) + "\n"
        with self._path.open("ab") as ledger:
            ledger.write(text.encode("utf-8", "backslashreplace"))
            ledger.flush()
            os.fsync(ledger.fileno())
        self._names[sha256] = file

    def _is_whole(self) -> bool:
        return self._path.read_bytes()[-1:] in {b"", b"\n"}

    def _read(self) -> list[dict[str, Any]]:
        """Return the entries. A line that a kill has cut is left out.

        The file of that line is then sent again, and the service stores its results only once.
        """
        entries = []
        for line in self._path.read_bytes().split(b"\n"):
            try:
                entry = json.loads(line)
                entries.append({key: str(entry[key]) for key in ("lab", "sha256", "file")})
            except (ValueError, TypeError, KeyError):
                continue
        return entries
