"""The option --timezone: the zone in which times without a zone are read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo

import click

from hutong_client.cli.options import Command
from hutong_client.tables.times import parse_zone


def timezone_option(text: str) -> Callable[[Command], Command]:
    """Return the option --timezone with this help. `parse_timezone` reads its value."""
    return click.option("--timezone", default="", help=text)


def parse_timezone(text: str) -> tzinfo | None:
    """Return the zone of --timezone; None if it is empty. Fail with a usage error if there is no such zone."""
    try:
        return parse_zone(text) if text else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timezone") from None
