"""The `hutongd` command. Its settings are HUTONG_* in the environment and a TOML file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import uvloop

from services.audit.model import LoggedHead
from services.command.audit import DOCUMENT_TYPES, export_audit, read_logged_head, verify_audit, who_read
from services.command.config import check_settings, example, show_settings
from services.command.doctor import diagnose
from services.command.held_heads import fetch_held_heads
from services.command.key import end_rotation, key_status
from services.command.purge import purge_node
from services.command.version import version_text
from services.command.worker import EXIT_FAILED, EXIT_USAGE, opener, prepare_process
from services.command.workers import check_workers, serve_workers
from services.domain.errors import HutongError
from services.domain.instant import DAY, HOUR, Span
from services.runtime.clock import SystemClock
from services.runtime.configuration.service_settings import MAX_WORKERS
from services.runtime.configuration.settings import VARIABLES, Settings
from services.runtime.configuration.variables import BadSetting, count
from services.runtime.hardening import harden_process
from services.runtime.logs import configure_logs
from services.runtime.server.process import serve
from services.runtime.server.workers.group import WorkersFailed
from services.storage.errors import UnusableDatabase
from services.storage.migrate import SERVICES, upgrade
from services.storage.private_files import check_private_files

MAX_SPAN: Span = 36_500 * DAY
"""A hundred years. No result is as old. An instant that lies much further back would be outside Python's calendar."""
MAX_SPAN_TEXT = 20
"""The longest text of a span, in characters. The longest allowed span needs fewer, and int() accepts far more."""


def main() -> None:
    """Run the command and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command and return the process's exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "config":
            _config(options.action, options.config, as_json=options.json)
            return 0
        if options.command == "doctor":
            return diagnose(os.environ, options.config, _names(options.service), as_json=options.json)
        settings = Settings.from_environment(os.environ, options.config)
        configure_logs(settings.log_level)
        harden_process()
        uses_all = options.command in {"purge", "key"}
        check_private_files(settings, list(SERVICES) if uses_all else _names(options.service))
        if options.command == "purge":
            print(purge_node(settings, options.older_than))
        elif options.command == "key":
            print(end_rotation(settings) if options.action == "rotate" and options.end else key_status(settings))
        elif options.command == "audit":
            return _audit(settings, options)
        else:
            names = _names(options.service)
            if options.command == "migrate":
                _migrate(settings, names)
            else:
                _serve(settings, names, options.workers, options.config)
    except (BadSetting, UnusableDatabase) as error:
        print(f"hutongd: {error}", file=sys.stderr)
        return EXIT_USAGE
    except WorkersFailed as error:
        print(f"hutongd: {error.text}", file=sys.stderr)
        return error.code
    except HutongError as error:
        print(f"hutongd: {error.message}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _names(service: str) -> list[str]:
    return list(SERVICES) if service == "all" else [service]


def _config(action: str, config: Path | None, *, as_json: bool) -> None:
    if action == "example":
        print(example(), end="")
    elif action == "show":
        print(show_settings(os.environ, config, as_json=as_json))
    else:
        check_settings(Settings.from_environment(os.environ, config))
        print("the settings can be used")


def _serve(settings: Settings, names: list[str], asked: int | None, config: Path | None) -> None:
    workers = asked or max(settings.service(name).workers for name in names)
    check_workers(settings, names, workers)
    if workers > 1:
        serve_workers(settings, names[0], workers, config)
        return
    prepare_process(names)
    uvloop.run(serve([opener(name) for name in names], settings))


def _migrate(settings: Settings, names: list[str]) -> None:
    for name in names:
        upgrade(name, settings.service(name).database_url)
        print(f"{name}: at the newest schema")


def _audit(settings: Settings, options: argparse.Namespace) -> int:
    names, now = _names(options.service), SystemClock().now()
    if options.action == "verify":
        held = fetch_held_heads(settings) if options.upstream else []
        lines, is_well = verify_audit(settings, names, [*options.head, *held])
        print("\n".join(lines))
        return 0 if is_well else EXIT_FAILED
    if options.action == "export":
        since = 0 if options.since is None else now - options.since
        export_audit(settings, names, since, sys.stdout)
        return 0
    number = sys.stdin.readline().strip() if options.number == "-" else options.number
    who_read(settings, names, (DOCUMENT_TYPES[options.type], number, options.country), now, sys.stdout)
    return 0


def head_option(text: str) -> tuple[str, LoggedHead]:
    """Parse a head of the log."""
    try:
        return read_logged_head(text)
    except ValueError:
        raise argparse.ArgumentTypeError("expected SERVICE:CHAIN:NUMBER:HEAD, with the head in hexadecimal") from None


def _span(text: str) -> Span:
    """Parse a span such as "30d" or "12h"."""
    units = {"d": DAY, "h": HOUR}
    if not text[:-1].isdecimal() or len(text) > MAX_SPAN_TEXT or text[-1:] not in units or int(text[:-1]) == 0:
        raise argparse.ArgumentTypeError("expected a number of days or hours, such as 30d or 12h")
    if (span := int(text[:-1]) * units[text[-1]]) > MAX_SPAN:
        raise argparse.ArgumentTypeError(f"expected {MAX_SPAN // DAY}d at most: no results are that old")
    return span


_WORKERS_HELP = (
    "processes that serve one service at its address (default HUTONG_{SERVICE}_WORKERS, or 1); SIGUSR2 renews them one "
    "by one"
)


def _worker_count(text: str) -> int:
    """Parse the number of workers."""
    try:
        return count(1, MAX_WORKERS)(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    settings = "\n".join(f"  {name:32}{meaning}" for name, meaning in VARIABLES.items())
    parser = argparse.ArgumentParser(
        prog="hutongd",
        description="The Hutong services: Results, Policy and Verification.",
        epilog=f"settings (environment):\n{settings}\n\nexit codes: 0 ended normally, 1 failed, 2 wrong setting; "
        "doctor: 0 well, 1 warnings, 2 faults",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version_text())
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings, in place of HUTONG_CONFIG")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("serve", "serve one service, or all three in one process; SQLite databases are migrated first"),
        ("migrate", "bring the databases to the newest schema"),
        ("doctor", "look for what is wrong with this node and say what to do; changes nothing"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("service", nargs="?", default="all", choices=[*SERVICES, "all"])
        if name == "doctor":
            command.add_argument("--json", action="store_true", help="print one JSON object")
        if name == "serve":
            command.add_argument("--workers", type=_worker_count, metavar="N", help=_WORKERS_HELP)
    text = "check the settings, show them with their sources, or print an example file"
    command = commands.add_parser("config", help=text, description=text)
    command.add_argument("action", choices=["check", "show", "example"])
    command.add_argument("--json", action="store_true", help="show prints one JSON object")
    _add_audit(commands)
    _add_key(commands)
    text = "remove results that were reported longer ago than a span and what is beyond its age; keep a deletion record"
    command = commands.add_parser("purge", help=text, description=f"{text}; PostgreSQL drops whole months")
    command.add_argument("--older-than", type=_span, required=True, metavar="SPAN", help="such as 30d or 12h")
    return parser


def _add_audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "check the audit, print it, or find who read something about a person"
    actions = commands.add_parser("audit", help=text, description=text).add_subparsers(dest="action", required=True)
    for name, text in (
        ("verify", "find rows that were changed or are missing, and name rows without a seal; exit code 1 with faults"),
        ("export", "print rows, one JSON object a line"),
        ("who-read", "print the rows about the holder of a document, one JSON object a line"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("service", nargs="?", default="all", choices=[*SERVICES, "all"])
        if name == "verify":
            help_ = (
                'SERVICE:CHAIN:NUMBER:HEAD of a line "audit sealed" of the log, which the chain must have; repeatable'
            )
            action.add_argument("--head", type=head_option, action="append", default=[], help=help_)
            help_ = "also compare the heads that the node above holds (HUTONG_UPSTREAM)"
            action.add_argument("--upstream", action="store_true", help=help_)
        if name == "export":
            action.add_argument("--since", type=_span, metavar="SPAN", help="only of this span until now, such as 7d")
        if name == "who-read":
            number = "the number of the document; - reads it from standard input, so that no list of processes shows it"
            action.add_argument("--number", required=True, help=number)
            action.add_argument("--type", default="resident-id-card", choices=sorted(DOCUMENT_TYPES))
            action.add_argument("--country", default="", help="the issuing country of a passport, such as FRA")


def _add_key(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "show what is stored under each version of the pepper, and change the pepper step by step"
    actions = commands.add_parser("key", help=text, description=text).add_subparsers(dest="action", required=True)
    text = "count the rows of each version, and say whether the change can end; reads whole tables"
    actions.add_parser("status", help=text, description=text)
    text = "say the next step of the change, with the settings for it"
    rotate = actions.add_parser("rotate", help=text, description=text)
    help_ = "end the change on this node; refused while a row of the older version is stored"
    rotate.add_argument("--end", action="store_true", help=help_)


if __name__ == "__main__":
    main()
