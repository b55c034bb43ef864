"""The `hutongd` command. Its settings are HUTONG_* in the environment and a TOML file."""

from __future__ import annotations

import signal
import sys

if "serve" in sys.argv[1:]:
    # Until the handler is set, SIGHUP would end the process. The imports below take a second.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

import argparse
import contextlib
import io
import os
import select
from pathlib import Path

import uvloop
from hutong_texts import speaking, tr
from hutong_texts.language import choose_language

from services.command.audit import DOCUMENT_TYPES, export_audit, verify_audit, who_read
from services.command.backup.make import back_up
from services.command.backup.record import record_restored
from services.command.backup.restore import restore
from services.command.config import check_settings, example, show_settings
from services.command.doctor.checks import diagnose
from services.command.faults import describe
from services.command.files.file_owners import refuse_foreign_files, refuse_foreign_root
from services.command.files.private_files import check_private_files
from services.command.held_heads import fetch_held_heads
from services.command.key import end_rotation, key_status
from services.command.parser import make_parser
from services.command.purge import purge_node
from services.command.worker import EXIT_FAILED, EXIT_USAGE, opener, prepare_process
from services.command.workers import check_workers, serve_workers
from services.domain.errors import HutongError
from services.runtime.call import trace_fields
from services.runtime.clock import SystemClock
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.runtime.hardening import harden_process
from services.runtime.logs import configure_logs
from services.runtime.server.process import serve
from services.runtime.server.workers.model import WorkersFailed
from services.storage.errors import UnusableDatabase
from services.storage.migrate import SERVICES, upgrade

EXIT_INTERRUPTED = 130
"""The exit code after Ctrl-C. It is the code that shells use for SIGINT."""


def main() -> None:
    """Run the command and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command and return the process's exit code."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # The caller has closed this stream.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        # Names of files may contain any bytes, and a terminal may lack characters. In a test the stream may have
        # another type.
        elif isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):
                stream.reconfigure(errors="backslashreplace")
    with speaking(choose_language(arguments, os.environ)):
        try:
            code = _run(make_parser().parse_args(arguments))
        except BrokenPipeError:
            if not _is_output_closed():
                raise
            code = EXIT_FAILED
        except KeyboardInterrupt:
            print(tr("hutongd: stopped"), file=sys.stderr)
            return EXIT_INTERRUPTED
        return _end_output(code)


def _end_output(code: int) -> int:
    """Write what is left of standard output. Return the exit code."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # The reader has closed the output, or the disk is full. Without this line Python would report the error again
        # at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == 0 and not isinstance(error, BrokenPipeError):
            print(f"hutongd: {tr(describe(error) or '')}", file=sys.stderr)
        return code or EXIT_FAILED
    return code


def _is_output_closed() -> bool:
    """Return whether the reader of standard output has closed it.

    A broken pipe may also be another pipe, such as that of a worker.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    output = select.poll()
    output.register(sys.stdout.fileno(), select.POLLOUT)
    return any(events & select.POLLERR for _, events in output.poll(0))


def _run(options: argparse.Namespace) -> int:
    try:
        if options.command == "config":
            _config(options)
            return 0
        if options.command == "doctor":
            return diagnose(os.environ, options.config, _names(options.service), as_json=options.json)
        settings = Settings.from_environment(os.environ, options.config)
        configure_logs(settings.log_level, more=trace_fields)
        harden_process()
        uses_all = options.command in {"purge", "key"}
        used = list(SERVICES) if uses_all else _names(options.service)
        refuse_foreign_files(settings, used)
        check_private_files(settings, used)
        if options.command == "backup":
            refuse_foreign_root(settings, [], [options.to])
        elif options.command not in {"audit", "key"}:
            refuse_foreign_root(settings, used)
        if options.command == "purge":
            print(purge_node(settings, options.older_than))
        elif options.command == "key":
            print(end_rotation(settings) if options.action == "rotate" and options.end else key_status(settings))
        elif options.command == "backup":
            print(back_up(settings, _names(options.service), options.to, with_pepper=options.with_pepper))
        elif options.command == "restore":
            print(restore(settings, options.folder, _names(options.service), SystemClock().now()))
        elif options.command == "audit":
            return _audit(settings, options)
        else:
            names = _names(options.service)
            if options.command == "migrate":
                _migrate(settings, names)
            else:
                _serve(settings, names, options.workers, options.config)
    except (BadSetting, UnusableDatabase) as error:
        print(f"hutongd: {tr(error.text)}", file=sys.stderr)
        return EXIT_USAGE
    except WorkersFailed as error:
        print(f"hutongd: {tr(error.text)}", file=sys.stderr)
        return error.code
    except HutongError as error:
        print(f"hutongd: {tr(error.message)}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        raise
    except Exception as error:
        text = describe(error)
        if text is None:
            raise
        print(f"hutongd: {tr(text)}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _names(service: str) -> list[str]:
    return list(SERVICES) if service == "all" else [service]


def _config(options: argparse.Namespace) -> None:
    if options.action == "example":
        print(example(), end="")
    elif options.action == "show":
        print(show_settings(os.environ, options.config, as_json=options.json))
    else:
        check_settings(Settings.from_environment(os.environ, options.config), _names(options.service))
        print(tr("the settings can be used"))


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
        print(tr("{name}: at the newest schema", name=name))


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
    if options.action == "record-restore":
        print("\n".join(record_restored(settings, names, options.copy_of, now)))
        return 0
    number = sys.stdin.readline().strip() if options.number == "-" else options.number
    who_read(settings, names, (DOCUMENT_TYPES[options.type], number, options.country), now, sys.stdout)
    return 0


if __name__ == "__main__":
    main()
