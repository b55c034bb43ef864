"""The command `hutong`: the group of all commands, and the exit codes and messages of their failures."""

from __future__ import annotations

import copy
import io
import os
import sys
from collections.abc import Sequence

import click
from hutong_texts import speaking, tr
from hutong_texts.language import choose_language

from hutong_client.cli.commands.case import case
from hutong_client.cli.commands.decisions import decisions
from hutong_client.cli.commands.emergency import emergency
from hutong_client.cli.commands.hold import hold
from hutong_client.cli.commands.holder_token import holder_token
from hutong_client.cli.commands.lab import lab
from hutong_client.cli.commands.lookup import lookup
from hutong_client.cli.commands.missing_reports import answer_missing_report, missing_reports
from hutong_client.cli.commands.notice import notice
from hutong_client.cli.commands.pending import pending
from hutong_client.cli.commands.policies.apply import apply_files, diff_files, lint_files
from hutong_client.cli.commands.policies.calendar import show_calendar
from hutong_client.cli.commands.policies.show import policy
from hutong_client.cli.commands.policies.withdraw import get_policy, withdraw_policy
from hutong_client.cli.commands.refusals.refusal import refusal
from hutong_client.cli.commands.report import report
from hutong_client.cli.commands.results.changes import correct, recall
from hutong_client.cli.commands.results.imports import import_results
from hutong_client.cli.commands.results.links import link, links, unlink
from hutong_client.cli.commands.results.show import results
from hutong_client.cli.commands.results.stores import audit_heads, nodes, reinstate_node, retire_node, uploads
from hutong_client.cli.commands.timeliness import timeliness
from hutong_client.cli.commands.upload import upload
from hutong_client.cli.commands.verify import verify
from hutong_client.cli.commands.watch import watch
from hutong_client.cli.exit_codes import ExitCode, describe_exit_codes
from hutong_client.cli.failures import FAILURES, say_failure
from hutong_client.cli.help import Group
from hutong_client.cli.options import Node, node_params
from hutong_client.cli.output import say
from hutong_client.cli.profiles.command import profile
from hutong_client.cli.profiles.context_command import context

_COMPLETION = """\
  bash  eval "$(_HUTONG_COMPLETE=bash_source hutong)"    # ~/.bashrc
  zsh   eval "$(_HUTONG_COMPLETE=zsh_source hutong)"     # ~/.zshrc
  fish  _HUTONG_COMPLETE=fish_source hutong | source     # ~/.config/fish/completions/hutong.fish
"""


class _Hutong(Group):
    """The group of all commands."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table of exit codes, and how commands are completed."""
        formatter.write(f"\n{tr('Exit codes')}:\n{describe_exit_codes()}\n")
        formatter.write(f"\n{tr('Completion of commands and options')}:\n{_COMPLETION}")


@click.group(
    params=node_params(),
    cls=_Hutong,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(package_name="hutong-client", message="%(prog)s %(version)s")
@click.pass_context
def hutong(call: click.Context) -> None:
    """Upload and look up results of nucleic-acid tests, decide whether they are recognised, and manage policies.

    Times are shown in Asia/Shanghai, and options read times without a zone in it. Regions and words such as purposes
    are understood by their Chinese names too. Every command takes --json and the options listed here.
    """
    call.ensure_object(Node)
    if os.environ.get("NO_COLOR"):
        call.color = False


def _hidden(command: click.Command) -> click.Command:
    """Return the same command, hidden from every help."""
    alias = copy.copy(command)
    alias.hidden = True
    return alias


for _command in (
    upload,
    lookup,
    verify,
    policy,
    refusal,
    lab,
    timeliness,
    notice,
    missing_reports,
    answer_missing_report,
    holder_token,
    pending,
    emergency,
    hold,
    audit_heads,
    report,
    results,
    correct,
    recall,
    link,
    unlink,
    links,
    import_results,
    watch,
    uploads,
    nodes,
    decisions,
    case,
    profile,
    context,
    retire_node,
    reinstate_node,
):
    hutong.add_command(_command)
# The former name of the command `missing-reports`.
hutong.add_command(_hidden(missing_reports), "follow-ups")
for _policy_command in (get_policy, apply_files, diff_files, lint_files, show_calendar, withdraw_policy):
    policy.add_command(_policy_command)


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code. A failure prints one line, without identities, on standard error."""
    with speaking(choose_language(arguments, os.environ)):
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # Names of files may contain any bytes, and a terminal may lack characters. In a test, the stream may be no
        # file.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = hutong.main(args=list(arguments), prog_name="hutong", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        say(tr("hutong: stopped"))
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of standard output has closed the pipe. Without the next line, Python reports the broken pipe again
        # at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except FAILURES as error:
        return say_failure(error)
    return code if isinstance(code, int) else ExitCode.DONE
