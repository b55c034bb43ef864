"""Wiring of the Results service: the one place where its parts meet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from hutong.results.v1.exchange_service_pb2_grpc import add_ExchangeServiceServicer_to_server
from hutong.results.v1.lab_service_pb2_grpc import add_LabServiceServicer_to_server
from hutong.results.v1.results_admin_service_pb2_grpc import add_ResultsAdminServiceServicer_to_server
from hutong.results.v1.results_service_pb2_grpc import add_ResultsServiceServicer_to_server
from hutong.results.v1.timeliness_service_pb2_grpc import add_TimelinessServiceServicer_to_server
from hutong.results.v1.upload_service_pb2_grpc import add_UploadServiceServicer_to_server

from services.domain.errors import Unavailable
from services.domain.subject import Pepper
from services.results.lookup.lookup import LookupDesk
from services.results.lookup.nationwide import Country
from services.results.exchange.downstream.node_auth import Door
from services.results.exchange.upstream.import_results import Importer
from services.results.exchange.downstream.receiver import Intake
from services.results.exchange.downstream.notice_stream import NoticeDesk
from services.results.exchange.upstream.notice_store import NoticeStore
from services.results.missing_reports.queue import ReminderDesk
from services.results.exchange.downstream.servicer import ExchangeServicer
from services.results.exchange.downstream.freshness import Nodes
from services.results.exchange.store import ExchangeStore
from services.results.exchange.downstream.subject_lookup import SubjectDesk
from services.results.exchange.upstream.link import Upstream
from services.results.upload.workers import Bench, Judges
from services.results.month_keeper import MonthKeeper
from services.results.records.pepper_check import is_pepper_of_store
from services.results.upload.quotas import Limits, Quotas
from services.results.servicer import (
    LabServicer,
    ResultsAdminServicer,
    ResultsServicer,
    TimelinessServicer,
    UploadServicer,
)
from services.results.sql_store import SqlStore
from services.results.upload.stream import UploadDesk
from services.results.watch.tail import ChangeTail
from services.results.watch.watch import Watch
from services.runtime.clock import Clock, SystemClock
from services.runtime.page_tokens import PageTokens
from services.runtime.server.service import Drain, Registration, Unit
from services.runtime.settings import BadSetting, Settings
from services.storage.engine import Database
from services.storage.errors import UnusableDatabase
from services.storage.migrate import open_migrated
from services.storage.process_lock import alone_on_sqlite


def checking_pepper(database: Database, pepper: Pepper) -> Callable[[], Awaitable[None]]:
    """The database's check, which also asks once whether the store was filled under this pepper; BadSetting if not."""
    confirmed = False

    async def check() -> None:
        nonlocal confirmed
        await database.check()
        if not confirmed and not await database.write(is_pepper_of_store, pepper):
            raise BadSetting(
                "the pepper is not the one that this Results database was filled under, and would find nobody: "
                "give the right HUTONG_PEPPER_FILE"
            )
        confirmed = True

    return check


async def open_results(settings: Settings, clock: Clock | None = None) -> Unit:
    """Open the Results service on its settings' database; UnusableDatabase for one that another process serves.

    Several processes may serve one PostgreSQL. On SQLite one alone sends to the nation, wakes its watchers at once and
    keeps to the limits of laboratories, and commits of a second would wait for its lock by luck.
    """
    serving = contextlib.ExitStack()
    try:
        if not serving.enter_context(alone_on_sqlite(settings.results.database_url, "serving")):
            raise UnusableDatabase("another process serves this SQLite database; stop it first, or use PostgreSQL")
        return await _open_results(settings, clock or SystemClock(), serving)
    except BaseException:
        serving.close()
        raise


async def _open_results(settings: Settings, clock: Clock, serving: contextlib.ExitStack) -> Unit:
    pepper = settings.pepper()
    database = await open_migrated("results", settings)
    check = checking_pepper(database, pepper)
    # A database that is away or behind is no reason not to start: health waits for it, and then for its pepper.
    try:
        await check()
    except Unavailable:
        pass
    except BadSetting:
        await asyncio.to_thread(database.close)
        raise
    store = SqlStore(database, clock, pepper.secret, node=settings.jurisdiction, joined=bool(settings.upstream))
    judges = Judges(Bench(pepper.secret, pepper.version, database.engine.dialect.name), settings.upload_workers)
    drain = Drain()
    limits = Limits(settings.lab_streams, settings.lab_persons_per_second, settings.lab_duplicates_per_day)
    quotas = Quotas(limits, clock)
    upload_desk = UploadDesk(store, settings.jurisdiction, clock, judges, quotas, drain, pepper, settings.start_seconds)

    exchange = ExchangeStore(database, clock, settings.jurisdiction, store.make_months)
    intake = Intake(exchange, pepper, clock, drain)
    told = NoticeStore(database, clock, settings.jurisdiction, store.make_months)
    upstream = Upstream(settings, exchange, told, pepper, clock) if settings.upstream else None
    tokens = PageTokens(pepper.secret)
    reminders = ReminderDesk(database, settings.jurisdiction, clock, tokens, has_upstream=upstream is not None)
    nodes = Nodes(exchange, settings.jurisdiction, clock)
    country = Country(store, settings.jurisdiction, clock, nodes, upstream.nation if upstream else None)
    lookup_desk = LookupDesk(store, pepper, settings.jurisdiction, clock, reminders, country)
    follow = upstream.follow if upstream else None
    importer = Importer(database, follow, settings.jurisdiction, pepper, clock, store.make_months)
    months = MonthKeeper(store.make_months_ahead)

    async def start() -> None:
        months.begin()
        reminders.begin()
        await judges.warm()
        # Laboratories first: a backlog would take the workers' time to start.
        if upstream is not None:
            upstream.begin()

    async def close() -> None:
        await reminders.end()
        if upstream is not None:
            await upstream.end()
        await months.end()
        await asyncio.to_thread(judges.close)
        await asyncio.to_thread(database.close)
        serving.close()

    tail = ChangeTail(store, clock, drain, database.written)
    watch = Watch(store, tail, drain, settings.watchers)
    results_servicer = ResultsServicer(store, lookup_desk, watch, reminders, importer, pepper, clock)
    return Unit(
        name="results",
        registrations=(
            Registration(
                "hutong.results.v1.LabService",
                add_LabServiceServicer_to_server,
                LabServicer(store, tokens, clock),
            ),
            Registration(
                "hutong.results.v1.UploadService",
                add_UploadServiceServicer_to_server,
                UploadServicer(store, upload_desk),
            ),
            Registration("hutong.results.v1.ResultsService", add_ResultsServiceServicer_to_server, results_servicer),
            Registration(
                "hutong.results.v1.ResultsAdminService",
                add_ResultsAdminServiceServicer_to_server,
                ResultsAdminServicer(store, settings.jurisdiction, clock),
            ),
            Registration(
                "hutong.results.v1.ExchangeService",
                add_ExchangeServiceServicer_to_server,
                ExchangeServicer(
                    Door(settings.jurisdiction),
                    exchange,
                    intake,
                    NoticeDesk(database, pepper, clock, drain),
                    SubjectDesk(store, nodes, pepper, clock),
                ),
            ),
            Registration(
                "hutong.results.v1.TimelinessService",
                add_TimelinessServiceServicer_to_server,
                TimelinessServicer(store),
            ),
        ),
        check=check,
        close=close,
        start=start,
        drain=drain,
    )
