"""Files of kept settings in the user's folder of settings, one YAML file for each name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml
from hutong_texts import list_words, tr

from hutong_client.private_files import replace_privately

VARIABLE = "HUTONG_CONFIG_DIR"
"""The variable that names the folder of settings. The default is the system's folder for settings of programs."""
_NAME = re.compile(r"\w[\w.-]{0,62}")


class NameOf(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for the name of kept settings, which is also a file's name."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; fail with a usage error if the text cannot be a name."""
        if not _NAME.fullmatch(str(value)):
            self.fail(tr("a name is 1 to 63 letters, digits, dots, hyphens and underscores"), param, ctx)
        return str(value)


NAME = NameOf()


class Kept:
    """The settings of one kind.

    Args:
        kind: the kind, which names the subfolder, "profiles".
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return Path(os.environ.get(VARIABLE) or click.get_app_dir("hutong")) / self._kind

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.yaml")) if self.folder.is_dir() else []

    def complete(self, _context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        """Return the names that begin with the word that a shell completes."""
        return [name for name in self.names() if name.startswith(incomplete)]

    def read(self, name: str) -> dict[str, Any]:
        """Return the settings of a name.

        Raises:
            click.UsageError: there are none, or their file is damaged.
        """
        try:
            content = yaml.safe_load(self._path(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            known = list_words(self.names()) or tr("none")
            raise click.UsageError(
                tr("there is no {name} in {folder}; there are: {known}", name=name, folder=self.folder, known=known)
            ) from None
        except (yaml.YAMLError, UnicodeError):
            content = None
        if not isinstance(content, dict):
            raise click.UsageError(tr("{path} is damaged; make it again", path=self._path(name)))
        return content

    def write(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write the settings of a name, which only their owner can read. Return the file's path."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replace_privately(self._path(name)) as file:
            yaml.safe_dump(dict(content), file, allow_unicode=True, sort_keys=False)
        return self._path(name)

    def remove(self, name: str) -> None:
        """Remove the settings of a name; fail with a usage error if there are none."""
        self.read(name)
        self._path(name).unlink()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"
