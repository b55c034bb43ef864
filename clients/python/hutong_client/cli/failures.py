"""Messages and exit codes of failures."""

from __future__ import annotations

import click

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.options import hide_identities
from hutong_client.cli.output import say
from hutong_client.errors import DeadlineExceeded, HutongError, Retryable
from hutong_client.tables.rows import NotATable

FAILURES = (click.ClickException, NotATable, HutongError, OSError)
"""The errors that end a command with one line."""


def say_failure(error: Exception) -> ExitCode:
    """Print one line about one of `FAILURES`, and return its exit code. The line holds no identity."""
    if isinstance(error, click.UsageError) and error.ctx:
        say(error.ctx.get_usage())
    if isinstance(error, click.ClickException):
        say(f"hutong: {hide_identities(error.format_message())}")
    elif isinstance(error, HutongError):
        say(f"hutong: {describe_error(error)}")
        return exit_code_of(error)
    elif isinstance(error, OSError):
        say(f"hutong: {error.filename or ''}: {error.strerror or error}")
    else:
        say(f"hutong: {error}")
    return ExitCode.USAGE


def exit_code_of(error: HutongError) -> ExitCode:
    """Return the exit code for a failed call."""
    return ExitCode.NO_CONNECTION if isinstance(error, Retryable | DeadlineExceeded) else ExitCode.FAILED


def describe_error(error: HutongError) -> str:
    """Describe a failed call in one line: its reason, its message and the faulty fields."""
    faults = [f"{it.field}: {it.description}" for it in error.field_violations]
    faults += [f"{it.subject}: {it.description}" for it in error.preconditions]
    unmentioned = [fault for fault in faults if fault not in error.message]
    kind = error.reason or error.code.name
    return f"{kind}: {' '.join(error.message.split())}" + (f" ({'; '.join(unmentioned)})" if unmentioned else "")
