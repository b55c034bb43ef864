"""The profile of a source system: what `hutong upload` needs to know about its files and its node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import click
from hutong_texts import tr

from hutong_client.cli.kept.contexts import ADDRESSES, TLS_FILES, settings_of
from hutong_client.cli.kept.store import NAME, Kept
from hutong_client.cli.options import Node

PROFILES = Kept("profiles")


@dataclass(frozen=True, slots=True)
class Profile:
    """The settings of one source system. An empty setting counts as not set.

    Attributes:
        lab, timezone, region, encoding, items, columns: the options of `hutong upload` with these names.
        results, policy, verification: the addresses of the node.
        tls_ca, tls_certificate, tls_key: paths of the TLS files.
    """

    lab: str = ""
    timezone: str = ""
    region: str = ""
    encoding: str = ""
    items: Sequence[str] = ()
    columns: Sequence[str] = ()
    results: str = ""
    policy: str = ""
    verification: str = ""
    tls_ca: str = ""
    tls_certificate: str = ""
    tls_key: str = ""

    def merge(self, **given: Any) -> Profile:
        """Return the profile with the settings that are given and not empty."""
        return replace(self, **{name: value for name, value in given.items() if value})

    def node(self, given: Node) -> Node:
        """Return a node with the profile's addresses and TLS files, which replace those of a context."""
        own = {key: str(value) for key, value in self.content().items() if key in {*ADDRESSES, *TLS_FILES}}
        return replace(given, context={**given.context, **own})

    def with_node(self, node: Node) -> Profile:
        """Return the profile with the addresses and files of a node."""
        return replace(self, **{**node.context, **settings_of(node.addresses, node.tls)})

    def content(self) -> dict[str, Any]:
        """Return the settings that are set, with stable names."""
        settings = {name: value for name, value in asdict(self).items() if value}
        return {name: list(value) if isinstance(value, tuple | list) else value for name, value in settings.items()}


def read_profile(name: str) -> Profile:
    """Return a kept profile.

    Raises:
        click.UsageError: there is no such profile, or its file holds something other than the settings of a profile.
    """
    content = PROFILES.read(name)
    known = {field.name: field.default for field in fields(Profile)}
    for key, value in content.items():
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if key not in known or not (is_list if known[key] == () else isinstance(value, str)):
            raise click.UsageError(
                tr("the profile {name} has a wrong setting: {key}; make it again or mend its file", name=name, key=key)
            )
    return Profile(**content)


def _read(_context: click.Context, _parameter: click.Parameter, name: str | None) -> Profile:
    return read_profile(name) if name else Profile()


profile_option = click.option(
    "--profile",
    type=NAME,
    callback=_read,
    shell_complete=PROFILES.complete,
    help="The profile of the source system (hutong profile create). Options that are given come first.",
)
