"""The names of settings, derived from the classes that declare them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from services.runtime.configuration.variables import Declared, Variable


def variables_of(settings: type[Any]) -> dict[str, Variable]:
    """Return the environment variables of a class of settings, by the names of its fields."""
    return {one.name: one.metadata["variable"] for one in fields(settings) if "variable" in one.metadata}


def variable_name(*path: str) -> str:
    """Return the environment variable of a setting. `path` are the names of the fields that lead to the setting."""
    return "_".join(("HUTONG", *path)).upper()


def declared(variables: Mapping[str, Variable], kinds: Mapping[str, str], *path: str) -> dict[str, Declared]:
    """Return the declared settings of one settings class, by the names of their environment variables.

    `path` names the fields that lead from Settings to the object of that class. It is empty for Settings itself.
    """
    found = (
        Declared(variable_name(*path, name), ".".join((*path, name)), one, kinds[name])
        for name, one in variables.items()
    )
    return {one.name: one for one in found}


def kinds_of(settings: type[Any]) -> dict[str, str]:
    """Return the annotations of a class of settings by the names of its fields."""
    return {one.name: str(one.type) for one in fields(settings)}
