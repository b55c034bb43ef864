"""Contexts: the addresses and TLS files of several nodes, by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import click
from hutong_texts import tr

from hutong_client.cli.help import help_text
from hutong_client.cli.kept.store import NAME, Kept
from hutong_client.connection import Tls

CONTEXTS = Kept("contexts")
VARIABLE = "HUTONG_CONTEXT"
"""The variable that names the context of commands without --context."""
ADDRESSES = ("results", "policy", "verification")
TLS_FILES = {"tls_ca": "ca_file", "tls_certificate": "certificate_file", "tls_key": "key_file"}
"""The setting for each TLS file → the attribute of `Tls` that holds the file's path."""


def read_context(name: str) -> Mapping[str, str]:
    """Return the settings of a context.

    Raises:
        click.UsageError: there is no such context, or its file holds something other than addresses and paths.
    """
    content = CONTEXTS.read(name)
    for key, value in content.items():
        if key not in {*ADDRESSES, *TLS_FILES} or not isinstance(value, str):
            raise click.UsageError(
                tr("the context {name} has a wrong setting: {key}; make it again or mend its file", name=name, key=key)
            )
    return content


def context_option(keep: Callable[[click.Context, click.Parameter, str | None], None]) -> click.Option:
    """Return the option --context. `keep` is called with the name that the user gives."""
    text = help_text("The node of a kept context (hutong context); default: {variable}.", variable=VARIABLE)
    return click.Option(
        ["--context"], type=NAME, expose_value=False, callback=keep, help=text, shell_complete=CONTEXTS.complete
    )


def find_context(name: str | None, *, is_chosen: bool) -> Mapping[str, str] | None:
    """Return the settings of the context `name`.

    If `name` is empty, HUTONG_CONTEXT gives the name, unless `is_chosen` says that a context is chosen already. Return
    None if neither gives a name.
    """
    name = name or (None if is_chosen else os.environ.get(VARIABLE))
    return read_context(name) if name else None


def settings_of(addresses: Mapping[str, str], tls: Tls) -> dict[str, str]:
    """Return addresses and TLS files as settings to keep. Paths of files become absolute."""
    files = {key: getattr(tls, name) for key, name in TLS_FILES.items()}
    return {**addresses, **{key: str(Path(path).absolute()) for key, path in files.items() if path}}


def merge_context(context: Mapping[str, str], addresses: Mapping[str, str], tls: Tls) -> tuple[dict[str, str], Tls]:
    """Return the given addresses and TLS files.

    Addresses that are not given, and TLS files if none is given, come from the context.
    """
    own = {key: value for key, value in context.items() if key in ADDRESSES}
    files = {name: Path(path) for key, name in TLS_FILES.items() if (path := context.get(key))}
    return {**own, **addresses}, tls if tls != Tls() else Tls(**files)
