"""The main module of a worker process. Only `services/command/workers.py` starts it."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    # The parent handles SIGINT and SIGHUP for its workers. It sends SIGHUP to this process only once this process can
    # handle it. A signal to the whole group may come at any time, also during the imports below.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

import argparse
import importlib
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import uvloop
from hutong_texts import ENGLISH, english, translate

from services.command.faults import describe
from services.domain.errors import HutongError
from services.runtime.call import trace_fields
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.runtime.hardening import harden_process
from services.runtime.logs import configure_logs
from services.runtime.server.process import serve
from services.runtime.server.service import Service
from services.runtime.server.workers.worker import WorkerMembership, end_with_parent
from services.runtime.tuning import switch_threads_early, use_batch_scheduling
from services.storage.errors import UnusableDatabase

EXIT_FAILED = 1
EXIT_USAGE = 2
"""The exit code for wrong arguments, and for a setting or a database that cannot be used. Another attempt is useless
until the operator has changed something."""
FILES = 65_536
"""How many open files a process asks the system for. Each connection of a caller takes one."""
LEAST_FILES = 256
"""The least limit of open files with which a process serves. It opens about a hundred before its first caller."""


def main() -> None:
    """Serve as one worker of a group until SIGTERM, and exit."""
    end_with_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("service")
    parser.add_argument("--link", type=int, required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--lang", default=ENGLISH)
    options = parser.parse_args()
    end = socket.socket(fileno=options.link)
    end.set_inheritable(False)
    membership = WorkerMembership(end, options.number)
    try:
        settings = share_of(Settings.from_environment(os.environ, options.config), options.workers)
        configure_logs(settings.log_level, options.number, more=trace_fields)
        harden_process()
        prepare_process([options.service])
        uvloop.run(serve([opener(options.service)], settings, membership))
    except (BadSetting, UnusableDatabase) as error:
        membership.fail(EXIT_USAGE, translate(error.text, options.lang))
        sys.exit(EXIT_USAGE)
    except HutongError as error:
        membership.fail(EXIT_FAILED, translate(error.message, options.lang))
        sys.exit(EXIT_FAILED)
    except Exception as error:
        text = describe(error)
        if text is None:
            raise
        membership.fail(EXIT_FAILED, translate(text, options.lang))
        sys.exit(EXIT_FAILED)


def share_of(settings: Settings, workers: int) -> Settings:
    """Return the settings of one worker. Limits of a process are divided by the number of workers and rounded up."""

    def part(limit: int) -> int:
        return -(-limit // workers)

    return replace(
        settings,
        max_calls=part(settings.max_calls),
        watchers=part(settings.watchers),
        upload_workers=part(settings.upload_workers),
        lab_streams=part(settings.lab_streams),
        lab_persons_per_second=part(settings.lab_persons_per_second),
        lab_duplicates_per_day=part(settings.lab_duplicates_per_day),
    )


def prepare_process(services: list[str]) -> None:
    """Set the limits and the scheduling of a process that will serve these services.

    Raises:
        BadSetting: the process may open too few files.
    """
    _allow_files()
    # If Verification is served elsewhere, it waits for this process, which therefore keeps the default scheduling.
    if "verification" in services:
        use_batch_scheduling()
    switch_threads_early()


def _allow_files() -> None:
    """Raise the limit of open files as far as the system allows. gRPC ends a process that has no file left."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    if wanted < LEAST_FILES:
        raise BadSetting(
            english(
                "this process may open {limit} files only, and needs {least}: ulimit -n, or LimitNOFILE= of systemd",
                limit=wanted,
                least=LEAST_FILES,
            )
        )


def opener(name: str) -> Callable[[Settings], Awaitable[Service]]:
    """Return the function that opens a service, from the service's main module."""
    found: Callable[[Settings], Awaitable[Service]] = getattr(
        importlib.import_module(f"services.{name}.main"), f"open_{name}"
    )
    return found


if __name__ == "__main__":
    main()
