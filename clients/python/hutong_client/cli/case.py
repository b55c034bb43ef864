"""The option for the number of the case that a call serves."""

from __future__ import annotations

from typing import TypeAlias

import click
from hutong_texts import tr

Metadata: TypeAlias = tuple[tuple[str, str], ...]
"""Metadata of a call: names and values."""


def _case_metadata(context: click.Context, parameter: click.Parameter, value: str) -> Metadata:
    if not value:
        return ()
    if len(value) > 64 or not value.strip() or not all(" " <= character <= "~" for character in value):
        raise click.BadParameter(tr("a case number has 1 to 64 letters, digits and signs of ASCII"), context, parameter)
    return (("hutong-case", value),)


case_option = click.option(
    "--case",
    "metadata",
    default="",
    callback=_case_metadata,
    help="The number of the case that the call serves, for the audit. Supervisors and operators need it.",
)
"""The option for the number of a case. The command receives it as `metadata` of its calls."""
