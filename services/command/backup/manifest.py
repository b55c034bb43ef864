"""The manifest of a backup. It says what the backup contains, so that a restore can check it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

import orjson
from hutong_texts import english
from hutong_texts.system import system_text

from services.runtime.configuration.variables import BadSetting
from services.storage.migrate import SERVICES

FORMAT = 1
"""The number of the format of backups. A release of Hutong reads only backups of its own format."""
MANIFEST = "manifest.json"
PEPPER = "pepper"
"""The name of the file with the pepper, if the backup contains the pepper."""
_NAME = re.compile(r"hutong-\d{6}-\d{8}T\d{12}Z")
_REVISION = re.compile(r"[0-9A-Za-z_]{1,32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class CopiedDatabase:
    """A copy of one service's database.

    Attributes:
        schema: the revision of its schema.
        size: its length in bytes.
        sha256: the hash of the file, as hexadecimal.
        copy_time: when the database was copied, in RFC 3339. The copy has every commit before that time.
    """

    service: str
    schema: str
    size: int
    sha256: str
    copy_time: str

    @property
    def file(self) -> str:
        """Return the name of the file in the folder of the backup."""
        return f"{self.service}.db"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup contains.

    Attributes:
        name: the name of the backup. Its folder had the same name when the backup was made.
        version: the version that made it.
        commit: the commit of that version.
        jurisdiction: the region of the node.
        has_pepper: whether the pepper is in the folder.
    """

    name: str
    version: str
    commit: str
    jurisdiction: str
    has_pepper: bool
    databases: Sequence[CopiedDatabase]

    def to_json(self) -> bytes:
        """Return the manifest as it is stored."""
        return orjson.dumps({"format": FORMAT, **asdict(self)}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a backup.

    Raises:
        BadSetting: the folder holds no backup that this version can read.
    """
    path = folder / MANIFEST
    try:
        stored = orjson.loads(path.read_bytes())
    except OSError as error:
        raise BadSetting(
            english(
                "{folder} is no backup: {file}: {cause}; name the folder that hutongd backup printed",
                folder=folder,
                file=PurePath(path.name),
                cause=system_text(error),
            )
        ) from None
    except orjson.JSONDecodeError:
        stored = None
    if isinstance(stored, Mapping) and isinstance(stored.get("format"), int) and stored["format"] > FORMAT:
        raise BadSetting(english("{folder}: a newer version made this backup: install that version", folder=folder))
    try:
        return _manifest(stored)
    except (KeyError, TypeError, ValueError):
        raise BadSetting(english("{path} is no manifest of a backup: take another backup", path=path)) from None


def _manifest(stored: Mapping[str, object]) -> Manifest:
    """Return the manifest in a parsed file. Raises KeyError, TypeError or ValueError if the file is no manifest."""
    if stored["format"] != FORMAT:
        raise ValueError(stored["format"])
    databases = stored["databases"]
    if not isinstance(databases, list) or not databases:
        raise TypeError(databases)
    copied = [CopiedDatabase(**one) for one in databases]
    for one in copied:
        is_known = one.service in SERVICES and _REVISION.fullmatch(one.schema) and _DIGEST.fullmatch(one.sha256)
        if not is_known or not isinstance(one.size, int):
            raise ValueError(one)
    if len({one.service for one in copied}) != len(copied):
        raise ValueError(copied)
    texts = [str(stored[name]) for name in ("name", "version", "commit", "jurisdiction")]
    if _NAME.fullmatch(texts[0]) is None:
        raise ValueError(texts)
    return Manifest(texts[0], texts[1], texts[2], texts[3], stored["has_pepper"] is True, copied)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
