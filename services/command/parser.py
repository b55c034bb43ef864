"""The arguments of `hutongd`, with helps in the language of the process."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

from hutong_texts import english, tr
from hutong_texts.language import LANGUAGES, match_language
from hutong_texts.layout import wrap

from services.audit.model import LoggedHead
from services.command.audit import DOCUMENT_TYPES, read_logged_head
from services.command.version import version_text
from services.domain.instant import DAY, HOUR, Instant, Span, from_datetime
from services.runtime.configuration.service_settings import MAX_WORKERS
from services.runtime.configuration.settings import VARIABLES
from services.runtime.configuration.variables import count
from services.storage.migrate import SERVICES

MAX_SPAN: Span = 36_500 * DAY
"""The longest span: a hundred years. No result is as old. An instant much further back would be outside Python's
calendar."""
MAX_SPAN_TEXT = 20
"""The most characters in the text of a span. No allowed span needs as many, and int() accepts far longer texts."""
_TEXTS_OF_ARGPARSE = (
    english("usage: "),
    english("positional arguments"),
    english("options"),
    english("show this help message and exit"),
    english("%(prog)s: error: %(message)s\n"),
    english("argument %(argument_name)s: %(message)s"),
    english("the following arguments are required: %s"),
    english("invalid choice: %(value)r (choose from %(choices)s)"),
    english("unrecognized arguments: %s"),
    english("expected one argument"),
    english("ambiguous option: %(option)s could match %(matches)s"),
    english("ignored explicit argument %r"),
)
"""The texts that argparse itself shows. They are named here for the catalogue, in which argparse looks them up by
gettext."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Formats helps. A Chinese character takes two columns."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width)


class _Parser(argparse.ArgumentParser):
    """A parser that accepts `--lang`, in its own command and in all commands below it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Help, **options)
        self.add_argument(
            "--lang",
            type=_language,
            metavar=f"{{{','.join(LANGUAGES)}}}",
            help=tr("the language of texts; default: LANGUAGE, then LC_ALL, LC_MESSAGES, LANG"),
        )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    settings = "\n".join(f"  {name:34}{tr(meaning)}" for name, meaning in VARIABLES.items())
    codes = tr("exit codes: 0 ended normally, 1 failed, 2 wrong setting; doctor: 0 well, 1 warnings, 2 faults")
    parser = _Parser(
        prog="hutongd",
        description=tr("The Hutong services: Results, Policy and Verification."),
        epilog=f"{tr('settings (environment):')}\n{settings}\n\n{codes}",
    )
    parser.add_argument(
        "--version", action="version", version=version_text(), help=tr("show program's version number and exit")
    )
    text = tr("TOML file of settings, in place of HUTONG_CONFIG")
    parser.add_argument("--config", type=Path, metavar="FILE", help=text)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("serve", tr("serve one service, or all three in one process; SQLite databases are migrated first")),
        ("migrate", tr("bring the databases to the newest schema")),
        ("doctor", tr("look for what is wrong with this node and say what to do; changes nothing")),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("service", nargs="?", default="all", choices=[*SERVICES, "all"])
        if name == "doctor":
            command.add_argument("--json", action="store_true", help=tr("print one JSON object"))
        if name == "serve":
            help_ = tr(
                "processes that serve one service at its address (default HUTONG_{SERVICE}_WORKERS, or 1); SIGUSR2 "
                "renews them one by one",
                SERVICE="{SERVICE}",
            )
            command.add_argument("--workers", type=_worker_count, metavar="N", help=help_)
    _add_config(commands)
    _add_audit(commands)
    _add_key(commands)
    _add_backup(commands)
    text = tr(
        "remove results that were reported longer ago than a span and what is beyond its age; keep a deletion record"
    )
    whole = tr("{text}; PostgreSQL drops whole months", text=text)
    command = commands.add_parser("purge", help=text, description=whole)
    command.add_argument(
        "--older-than", type=_span, required=True, metavar="SPAN", help=tr("such as {example}", example="30d, 12h")
    )
    return parser


def _add_config(commands: argparse._SubParsersAction[Any]) -> None:
    text = tr("check the settings, show them with their sources, or print an example file")
    actions = commands.add_parser("config", help=text, description=text).add_subparsers(dest="action", required=True)
    text = tr("find what would prevent a start of one service, or of all three")
    check = actions.add_parser("check", help=text, description=text)
    check.add_argument("service", nargs="?", default="all", choices=[*SERVICES, "all"])
    text = tr("show every setting with its value and its source")
    show = actions.add_parser("show", help=text, description=text)
    show.add_argument("--json", action="store_true", help=tr("print one JSON object"))
    text = tr("print an example file")
    actions.add_parser("example", help=text, description=text)


def _add_backup(commands: argparse._SubParsersAction[Any]) -> None:
    text = tr("copy the SQLite databases while the services run, check the copies, and print the folder of the backup")
    command = commands.add_parser("backup", help=text, description=text)
    command.add_argument("service", nargs="?", default="all", choices=[*SERVICES, "all"])
    text = tr("the folder in which the backup gets a folder of its own")
    command.add_argument("--to", type=Path, required=True, metavar="FOLDER", help=text)
    text = tr("also copy the file of the pepper; without it, keep the pepper apart")
    command.add_argument("--with-pepper", action="store_true", help=text)
    text = tr("restore SQLite databases from a backup, after checks; replaces nothing that exists")
    command = commands.add_parser("restore", help=text, description=text)
    command.add_argument("folder", type=Path, metavar="FOLDER", help=tr("the folder of the backup"))
    command.add_argument("service", nargs="?", default="all", choices=[*SERVICES, "all"])


def _add_audit(commands: argparse._SubParsersAction[Any]) -> None:
    text = tr("check the audit, print it, or find who read something about a person")
    actions = commands.add_parser("audit", help=text, description=text).add_subparsers(dest="action", required=True)
    for name, text in (
        (
            "verify",
            tr(
                "find rows that were changed or are missing, and name rows without a seal; "
                "the exit code is 1 if there are faults"
            ),
        ),
        ("export", tr("print rows, one JSON object a line")),
        ("who-read", tr("print the rows about the holder of a document, one JSON object a line")),
        (
            "record-restore",
            tr("record that a database on a server was restored; hutongd restore does it for SQLite"),
        ),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("service", nargs="?", default="all", choices=[*SERVICES, "all"])
        if name == "verify":
            help_ = tr(
                'SERVICE:CHAIN:NUMBER:HEAD of a line "audit sealed" of the log, which the chain must have; repeatable'
            )
            action.add_argument("--head", type=head_option, action="append", default=[], help=help_)
            help_ = tr("also compare the heads that the node above holds (HUTONG_UPSTREAM)")
            action.add_argument("--upstream", action="store_true", help=help_)
        if name == "export":
            help_ = tr("only of this span until now, such as {example}", example="7d")
            action.add_argument("--since", type=_span, metavar="SPAN", help=help_)
        if name == "record-restore":
            help_ = tr("the instant of the restored state, such as {example}", example="2022-08-11T09:30:00+08:00")
            action.add_argument("--copy-of", type=_instant, required=True, metavar="TIME", help=help_)
        if name == "who-read":
            help_ = tr(
                "the number of the document; - reads it from standard input, so that no list of processes shows it"
            )
            action.add_argument("--number", required=True, help=help_)
            help_ = tr("the type of the document")
            action.add_argument("--type", default="resident-id-card", choices=sorted(DOCUMENT_TYPES), help=help_)
            help_ = tr("the issuing country of a passport, such as {example}", example="FRA")
            action.add_argument("--country", default="", help=help_)


def _add_key(commands: argparse._SubParsersAction[Any]) -> None:
    text = tr("show what is stored under each version of the pepper, and change the pepper step by step")
    actions = commands.add_parser("key", help=text, description=text).add_subparsers(dest="action", required=True)
    text = tr("count the rows of each version, and say whether the change can end; reads whole tables")
    actions.add_parser("status", help=text, description=text)
    text = tr("say the next step of the change, with the settings for it")
    rotate = actions.add_parser("rotate", help=text, description=text)
    text = tr("end the change on this node; refused while a row of the older version is stored")
    rotate.add_argument("--end", action="store_true", help=text)


def head_option(text: str) -> tuple[str, LoggedHead]:
    """Parse a head of the log, as `read_logged_head`."""
    try:
        return read_logged_head(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            tr("expected SERVICE:CHAIN:NUMBER:HEAD, with the head in hexadecimal")
        ) from None


def _span(text: str) -> Span:
    """Parse a span such as "30d" or "12h"."""
    units = {"d": DAY, "h": HOUR}
    if not text[:-1].isdecimal() or len(text) > MAX_SPAN_TEXT or text[-1:] not in units or int(text[:-1]) == 0:
        raise argparse.ArgumentTypeError(tr("expected a number of days or hours, such as 30d or 12h"))
    if (span := int(text[:-1]) * units[text[-1]]) > MAX_SPAN:
        raise argparse.ArgumentTypeError(tr("expected {days}d at most: no results are that old", days=MAX_SPAN // DAY))
    return span


def _instant(text: str) -> Instant:
    """Parse an instant with its zone."""
    try:
        return from_datetime(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            tr("expected a time with its zone, such as {example}", example="2022-08-11T09:30:00+08:00")
        ) from None


def _worker_count(text: str) -> int:
    """Parse the number of workers."""
    try:
        return count(1, MAX_WORKERS)(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(tr(str(error))) from None


def _language(text: str) -> str:
    """Parse the name of a language. Its value was used already, before the parser was made."""
    found = match_language(text)
    if found is None:
        raise argparse.ArgumentTypeError(tr("expected one of {languages}", languages=", ".join(LANGUAGES)))
    return found
