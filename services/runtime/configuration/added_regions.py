"""The regions that an operator adds to GB/T 2260."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hutong_texts import english, text_of

from services.domain.region import set_added_regions
from services.runtime.configuration.variables import BadSetting, Variable, read_regions


def add_regions(name: str, variable: Variable, given: Mapping[str, str]) -> None:
    """Make the region codes in an operator's file known. `name` is the environment variable that names the file.

    Raises:
        BadSetting: the file or one of its lines cannot be used.
    """
    path: Path | None = variable.value(name, given)
    try:
        set_added_regions(read_regions(path))
    except ValueError as error:
        raise BadSetting(english("{name} {fault}", name=name, fault=text_of(error))) from None
