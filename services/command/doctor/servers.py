"""Checks of PostgreSQL for `hutongd doctor`: the clocks of its servers, and the read replicas of Results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from hutong_texts import Text, english
from sqlalchemy import Connection, Engine, exc

from services.command.doctor.findings import Finding, Level
from services.domain.instant import MINUTE, SECOND, Span
from services.runtime.clock import Clock
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import name_server
from services.storage.connections import create_inspecting_engine, create_standby_engine, find_sqlite_file
from services.storage.errors import UnusableDatabase

R = TypeVar("R")

FAR_OFF: Span = 5 * MINUTE
"""A greater difference between two clocks is a fault, because uploads and tokens tolerate five minutes of clock
skew."""
OFF: Span = 2 * SECOND
"""A greater difference between two clocks is a warning. NTP keeps clocks within some milliseconds of each other."""
POLL_SECONDS = 0.1
"""The pause between two queries while a standby catches up."""
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_PRIMARY = """
SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN 0
  ELSE pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint END, system_identifier FROM pg_control_system()
"""
_STANDBY = """
SELECT pg_is_in_recovery(), coalesce(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint, 0), system_identifier
FROM pg_control_system()
"""


class _State(NamedTuple):
    """A server: whether it is a standby, the position up to which its log is flushed or replayed, and its cluster."""

    is_standby: bool
    position: int
    cluster: int


def _ask(engine: Engine, work: Callable[[Connection], R]) -> R:
    """Run `work(connection)` on a server, then close all connections to the server."""
    try:
        with engine.connect() as connection:
            return work(connection)
    finally:
        engine.dispose()


def check_clocks(settings: Settings, services: Sequence[str], clock: Clock) -> Iterator[Finding]:
    """Compare this machine's clock with those of the PostgreSQL servers. A server that does not answer is left out."""
    for url in dict.fromkeys(settings.service(service).database_url for service in services):
        if find_sqlite_file(url) is not None:
            continue
        try:
            ahead = _ask(create_inspecting_engine(url), lambda connection: _ahead(connection, clock))
        except (exc.SQLAlchemyError, UnusableDatabase):
            continue
        yield _by_difference(name_server(url), ahead)


def _ahead(connection: Connection, clock: Clock) -> Span:
    """Return how far this machine's clock is ahead of a server's clock.

    The server's clock is compared with the middle of the question's duration.
    """
    start = clock.now()
    theirs = int(connection.exec_driver_sql(_NOW).scalar_one())
    return (start + clock.now()) // 2 - theirs


def _by_difference(server: str, ahead: Span) -> Finding:
    check, seconds = english("clock"), round(abs(ahead) / SECOND)
    if abs(ahead) <= OFF:
        return Finding(check, Level.OK, english("agrees with that of {server}", server=server))
    text = (
        english("is {seconds} s ahead of that of {server}: synchronise both", seconds=seconds, server=server)
        if ahead > 0
        else english("is {seconds} s behind that of {server}: synchronise both", seconds=seconds, server=server)
    )
    return Finding(check, Level.FAULT if abs(ahead) > FAR_OFF else Level.WARNING, text)


def check_replicas(settings: Settings) -> Iterator[Finding]:
    """Check that each read replica of Results answers, is a standby of the primary, and is not too far behind."""
    own = settings.results
    if not own.replica_url:
        return
    try:
        primary = _ask(create_inspecting_engine(own.database_url), lambda connection: _read(connection, _PRIMARY))
    except (exc.SQLAlchemyError, UnusableDatabase):
        # The check of the database reports the reason.
        primary = None
    for url in own.replica_url:
        level, text = _check_replica(url, primary, own.replica_lag_seconds)
        yield Finding(english("read replica {server}", server=name_server(url)), level, text)


def _check_replica(url: str, primary: _State | None, lag_seconds: float) -> tuple[Level, Text]:
    try:
        state = _ask(create_standby_engine(url), lambda connection: _await_primary(connection, primary, lag_seconds))
    except (exc.SQLAlchemyError, UnusableDatabase) as error:
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        text = english("does not answer: {cause}; correct HUTONG_RESULTS_REPLICA_URL, or start it", cause=cause)
        return Level.FAULT, text
    if not state.is_standby:
        return Level.FAULT, english("is no standby: name hot standbys in HUTONG_RESULTS_REPLICA_URL")
    if primary is None:
        return Level.OK, english("is a standby; the primary does not answer")
    if state.cluster != primary.cluster:
        return Level.FAULT, english("follows another primary than that of HUTONG_RESULTS_DATABASE_URL")
    if state.position < primary.position:
        return Level.WARNING, english(
            "is more than {seconds:g} s behind, by {size:,} bytes: look-ups do not use it",
            seconds=lag_seconds,
            size=primary.position - state.position,
        )
    return Level.OK, english("follows the primary")


def _await_primary(connection: Connection, primary: _State | None, seconds: float) -> _State:
    """Return the state of a standby once it has what the primary has, or after some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        state = _read(connection, _STANDBY)
        is_late = time.monotonic() >= deadline
        if primary is None or state.position >= primary.position or is_late or not state.is_standby:
            return state
        time.sleep(POLL_SECONDS)


def _read(connection: Connection, query: str) -> _State:
    return _State._make(connection.exec_driver_sql(query).one())
