"""Messages and exit codes of failures."""

from __future__ import annotations

import click
from hutong_texts import ENGLISH, current_language, english, escape_controls, tr
from hutong_texts.system import system_text

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.options import hide_identities
from hutong_client.cli.output import say
from hutong_client.errors import (
    ConnectionCut,
    DeadlineExceeded,
    HutongError,
    ResourceExhausted,
    Retryable,
    TlsFault,
    Unavailable,
)
from hutong_client.tables.rows import NotATable

FAILURES = (click.ClickException, NotATable, HutongError, OSError)
"""The errors that end a command with one line."""


def say_failure(error: Exception) -> ExitCode:
    """Print one line about one of `FAILURES`, and return its exit code. The line holds no identity."""
    if isinstance(error, click.UsageError) and error.ctx:
        say(error.ctx.get_usage())
    say(f"hutong: {describe_failure(error)}")
    return exit_code_of(error) if isinstance(error, HutongError) else ExitCode.USAGE


def describe_failure(error: Exception) -> str:
    """Describe one of `FAILURES`. The text holds no identity."""
    if isinstance(error, click.ClickException):
        return hide_identities(error.format_message())
    if isinstance(error, HutongError):
        return describe_error(error)
    if isinstance(error, OSError):
        reason = tr(system_text(error))
        return f"{escape_controls(str(error.filename))}: {reason}" if error.filename else reason
    return str(error)


_WITHOUT_REASON = {
    Unavailable: english("the service cannot be reached"),
    DeadlineExceeded: english("the service did not answer in time"),
    ConnectionCut: english("the connection was cut"),
    ResourceExhausted: english("the message is too large"),
}
"""Words for failures that no service of Hutong has described."""


def exit_code_of(error: HutongError) -> ExitCode:
    """Return the exit code for a failed call."""
    return ExitCode.NO_CONNECTION if isinstance(error, Retryable | DeadlineExceeded) else ExitCode.FAILED


def describe_error(error: HutongError) -> str:
    """Describe a failed call in one line: its reason, its message and the faulty fields."""
    text = error.shown_message
    if not error.reason and current_language() != ENGLISH and not isinstance(error, TlsFault):
        # The text comes from gRPC itself and is in English.
        text = tr(next((words for kind, words in _WITHOUT_REASON.items() if isinstance(error, kind)), text))
    shown = " ".join(text.split())
    faults = [(it.field, it.localized_description or it.description) for it in error.field_violations]
    if not error.localized_message:
        # A localized message names the failed preconditions already.
        faults += [(it.subject, it.description) for it in error.preconditions]
    unmentioned = [
        tr("{what}: {text}", what=what, text=text)
        for what, text in faults
        if f"{what}: {text}" not in shown and f"{what}：{text}" not in shown
    ]
    kind = error.reason or error.code.name
    return f"{kind}: {shown}" + (tr(" ({faults})", faults=tr("; ").join(unmentioned)) if unmentioned else "")
