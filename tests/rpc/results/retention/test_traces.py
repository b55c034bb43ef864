"""After a purge no number of a removed report is left: in no table, file, decoded list or message, and in no log.

A nation with all three services and two provinces is filled through every door. The reports are uploaded late: they are
older than everything that names them.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from google.type.interval_pb2 import Interval
from hutong.results.v1 import upload_pb2
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest, UnlinkDocumentsRequest
from hutong.results.v1.import_service_pb2 import ImportResultsRequest
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.verification.v1 import refusal_service_pb2
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from sqlalchemy import Connection, inspect, select, text

from services.command.purge import purge_node
from services.domain.instant import DAY, HOUR, Instant, to_timestamp
from services.policy.main import open_policy
from services.results.changelog.tables import changes
from services.results.exchange.tables import notifications
from services.results.idempotency import requests
from services.results.missing_reports.tables import missing_reports
from services.results.retention.tables import deletion_counts
from services.runtime.clock import SystemClock
from services.runtime.configuration.settings import Settings
from services.storage.connections import find_sqlite_file
from services.storage.engine import open_database
from services.verification.main import open_verification
from services.verification.retention import deletion_counts as verification_counts
from services.verification.stored_decisions.tables import decisions
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, JILIN, Country, Member, open_country
from tests.support.results.factories import (
    LAB_NAME,
    PENDING,
    POSITIVE,
    lab_to_register,
    make_document,
    make_tube,
    subject_key,
)
from tests.support.servers import serving, settings_for
from tests.support.verification.node import Callers, calling
from tests.support.waiting import until

OLD, KEPT = "OLD-2049", "KEPT-3017"
"""How the numbers of removed and of kept reports begin."""
AGE = 100 * DAY
"""How old the late reports are. On PostgreSQL the horizon is the beginning of a month."""
OLD_PERSONS, KEPT_PERSON = (0, 1, 2, 3, 4, 5), 9


@dataclass(frozen=True, slots=True)
class Filled:
    """Three nodes with reports of both kinds, the settings of each, and what they have logged."""

    country: Country
    settings: dict[str, Settings]
    log: list[str]
    now: Instant

    def urls(self) -> list[str]:
        """Return the databases of all services of all nodes."""
        nation = self.settings["000000"]
        urls = [member.url for member in (self.country.nation, *self.country.provinces.values())]
        return [*urls, nation.policy.database_url, nation.verification.database_url]

    async def purge(self, older_than: Instant, later: Instant = 0) -> None:
        """Purge every node by a clock that is ahead."""
        for settings in self.settings.values():
            await asyncio.to_thread(purge_node, settings, older_than, self.now + later)


def tube(number: str, person: int, reported: Instant, **fields: Any) -> upload_pb2.Tube:
    """Return a tube of one person under a number that is easy to find."""
    made = make_tube(person, reported=reported, **fields)
    made.persons[0].report_number = number
    return made


@contextlib.contextmanager
def listening() -> Iterator[list[str]]:
    """Collect every line of the log."""
    log: list[str] = []

    def listen(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        log.append(repr(sorted(event.items(), key=str)))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.processors.format_exc_info, listen])
    try:
        yield log
    finally:
        structlog.reset_defaults()


@pytest.fixture
async def filled(tmp_path: Path, database_url: MakeUrl) -> AsyncIterator[Filled]:
    now = SystemClock().now()
    with listening() as log:
        async with open_country(tmp_path, database_url) as country:
            jilin, henan = await country.join(JILIN), await country.join(HENAN)
            urls = {f"{name}_database_url": database_url(name) for name in ("policy", "verification")}
            settings = {
                "000000": settings_for(
                    tmp_path,
                    jurisdiction="000000",
                    results_database_url=country.nation.url,
                    results_address=country.nation.address,
                    **urls,
                )
            }
            async with verifying(settings["000000"]) as callers:
                await upload_late(country, jilin, henan, now)
                await follow(country, jilin, henan, now)
                await decide(country, jilin, callers, now)
            for member in (jilin, henan):
                settings[member.region] = settings_for(
                    tmp_path / member.region,
                    jurisdiction=member.region,
                    upstream=country.nation.address,
                    results_database_url=member.url,
                )
            yield Filled(country, settings, log, now)


@contextlib.asynccontextmanager
async def verifying(settings: Settings) -> AsyncIterator[Callers]:
    """Run Policy and Verification beside the nation's Results."""
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(await open_policy(settings), settings))
        variables = {
            "results_address": settings.results.address,
            "policy_address": address,
            "verification_database_url": settings.verification.database_url,
            "jurisdiction": "000000",
        }
        verification = settings_for(settings.data_dir, **variables)
        service = await open_verification(verification)
        addresses = {
            "results": settings.results.address,
            "policy": address,
            "verification": await stack.enter_async_context(serving(service, verification)),
        }
        yield await stack.enter_async_context(calling(addresses))


async def upload_late(country: Country, jilin: Member, henan: Member, now: Instant) -> None:
    """Upload old and new reports, again, and some that are rejected. Others of the persons are found elsewhere."""
    for member in (jilin, country.nation):
        await member.node.labs.CreateLab(CreateLabRequest(lab=lab_to_register()))
    reported = now - AGE
    await henan.node.imports.ImportResults(ImportResultsRequest(document=make_document(1)))
    mixed = [
        tube(f"{OLD}-0", 0, reported),
        tube(f"{KEPT}-0", KEPT_PERSON, now - HOUR),
        tube(f"{OLD}-1", 1, reported, outcome=POSITIVE),
        tube(f"{OLD}-2", 2, reported, outcome=PENDING, sampled=reported),
        tube(f"{KEPT}-1", 8, now - HOUR, region="999999"),
    ]
    await jilin.node.upload(mixed, "late")
    await jilin.node.upload(mixed, "late")
    await jilin.node.upload([tube(f"{OLD}-0", 3, reported, region="999999"), tube(f"{OLD}-2", 2, reported)], "again")
    conflicting = await jilin.node.upload([tube(f"{OLD}-0", 4, reported)], "conflict")
    assert conflicting[-1].rejected_count == 1
    await until(lambda: len(country.nation.results()) == 5)
    await until(lambda: len(henan.results()) == 1)


async def follow(country: Country, jilin: Member, henan: Member, now: Instant) -> None:
    """Correct, recall, link and import, with request ids."""
    imported = await henan.node.imports.ImportResults(
        ImportResultsRequest(document=make_document(0), request_id=str(uuid.uuid4()))
    )
    assert imported.imported_count == 1
    correction = CorrectResultRequest(
        name=f"{LAB_NAME}/results/{OLD}-0", outcome=2, reason="a slip", request_id=str(uuid.uuid4())
    )
    correction.sample_time.CopyFrom(to_timestamp(now - AGE - 6 * HOUR))
    await jilin.node.admin.CorrectResult(correction)
    interval = Interval(start_time=to_timestamp(now - AGE - HOUR), end_time=to_timestamp(now - AGE + HOUR))
    recall = RecallResultsRequest(
        lab=LAB_NAME,
        report_interval=interval,
        outcomes=[POSITIVE],
        reason="contaminated",
        request_id=str(uuid.uuid4()),
    )
    assert (await jilin.node.admin.RecallResults(recall)).recalled_count == 1
    link = LinkDocumentsRequest(
        document=make_document(4), linked_document=make_document(5), reason="renewed", request_id=str(uuid.uuid4())
    )
    await jilin.node.links.LinkDocuments(link)
    await jilin.node.links.UnlinkDocuments(
        UnlinkDocumentsRequest(document=make_document(4), linked_document=make_document(5), reason="not the same")
    )
    await until(lambda: len(country.nation.results()) == 7)
    await until(lambda: len(henan.results()) == 4)


async def decide(country: Country, jilin: Member, callers: Callers, now: Instant) -> None:
    """Decide on records, on evidence that says nothing or something false of its time, and report refusals."""
    await callers.publish("410100", 48 * HOUR)

    async def verify(person: int, *shown: PresentedEvidence, **fields: Any) -> str:
        request = VerifyRequest(
            document=make_document(person), region="410105", purpose=4, evidence=shown, store_decision=True, **fields
        )
        return str((await callers.decisions.Verify(request)).decision.name)

    def paper(number: str, reported: Instant | None) -> PresentedEvidence:
        shown = PresentedEvidence(channel=7, lab=LAB_NAME, report_number=number, outcome=2)
        if reported is not None:
            shown.report_time.CopyFrom(to_timestamp(reported))
        return shown

    await verify(0)
    await verify(KEPT_PERSON)
    await verify(3, paper(f"{OLD}-1", now - HOUR))
    await verify(3, paper(f"{OLD}-0", None))
    await verify(4, paper(f"{OLD}-3", now - HOUR))
    await until(lambda: len(jilin.rows(missing_reports, "report_number")) == 1)
    await jilin.node.upload([tube(f"{OLD}-3", 4, now - AGE)], "at-last")
    await until(lambda: len(country.nation.results()) == 8)
    report = refusal_service_pb2.ReportRefusalRequest(
        region="410105",
        purpose=4,
        refuse_time=to_timestamp(now - HOUR),
        grounds=[9],
        document=make_document(0),
        evidence=[paper(f"{OLD}-0", now - 3 * HOUR)],
        request_id=str(uuid.uuid4()),
    )
    await callers.refusals.ReportRefusal(report)


def everything_in(url: str) -> list[tuple[str, bytes]]:
    """Return every value of every row of every table, and what the compressed ones hold."""
    found: list[tuple[str, bytes]] = []

    def read(connection: Connection) -> None:
        for table in inspect(connection).get_table_names():
            for row in connection.execute(text(f'SELECT * FROM "{table}"')):
                for value in row:
                    raw = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    found.append((table, raw))
                    with contextlib.suppress(zlib.error):
                        found.append((table, zlib.decompress(raw)))

    with contextlib.closing(open_database(url)) as database:
        database.read_now(read)
    file = find_sqlite_file(url)
    if file is not None:
        for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
            path = file.with_name(name)
            if path.exists():
                found.append((name, path.read_bytes()))
    return found


def holding(filled: Filled, *wanted: bytes) -> set[str]:
    """Return the tables and files in which one of these is found."""
    everything = [found for url in filled.urls() for found in everything_in(url)]
    everything += [("log", line.encode()) for line in filled.log]
    return {where for where, value in everything if any(one in value for one in wanted)}


def subjects(*persons: int) -> list[bytes]:
    """Return the keys of persons as bytes and as text."""
    keys = [subject_key(person) for person in persons]
    return [*keys, *(key.hex().encode() for key in keys)]


def tags(url: str) -> set[bytes]:
    """Return the subject tags of the decisions that name old reports."""
    with contextlib.closing(open_database(url)) as database, database.engine.connect() as connection:
        rows = connection.execute(select(decisions.c.subject_tag, decisions.c.inputs)).all()
    return {bytes(row.subject_tag) for row in rows if OLD.encode() in bytes(row.inputs)}


async def test_no_number_of_a_removed_report_is_left(filled: Filled) -> None:
    """The late reports go while all that names them is young; later everything goes."""
    verification = filled.settings["000000"].verification.database_url
    old_tags = await asyncio.to_thread(tags, verification)
    assert len(old_tags) == 5
    before = await asyncio.to_thread(holding, filled, OLD.encode())
    assert before >= {
        "results",
        "report_keys",
        "changes",
        "notifications",
        "results_request_memory",
        "revision_reasons",
        "missing_reports",
        "decisions",
    }
    await filled.purge(60 * DAY)
    assert await asyncio.to_thread(holding, filled, OLD.encode(), *old_tags) == set()
    kept = await asyncio.to_thread(holding, filled, KEPT.encode())
    assert kept >= {"results", "report_keys", "changes", "decisions"}
    # An ended link, a complaint and a subscription have their own ages.
    left = await asyncio.to_thread(holding, filled, *subjects(*OLD_PERSONS))
    assert {name for name in left if not name.endswith((".db", "-wal"))} == {
        "document_links",
        "refusals",
        "subscriptions",
    }
    counts = counted(filled.country.nation.url, deletion_counts)
    assert counts["changes.reports"] >= 5
    assert counts["notifications.reports"] >= 2
    assert counted(verification, verification_counts) == {"decisions": 5, "evidence_flags": 1, "evidence_cases": 3}
    assert counted(filled.country.provinces[JILIN].url, deletion_counts)["results_request_memory"] == 1

    # A province learns with each nationwide look-up what the nation has removed.
    request = LookupLatestRequest(document=make_document(0), scope=LOOKUP_SCOPE_NATIONWIDE)
    results = filled.country.provinces[HENAN].node.results

    async def learnt() -> bool:
        _, nation = (await results.LookupLatest(request)).sources[:2]
        return nation.node == "nodes/000000" and nation.HasField("retention_start_time")

    # On a busy machine the nation may once be late, and a late nation states nothing.
    await until(learnt)

    # A province that begins anew, and one that listens, go on past what was erased.
    await filled.country.provinces[JILIN].node.upload([tube(f"{KEPT}-2", 1, filled.now - HOUR)], "more")
    await until(lambda: len(filled.country.nation.results()) == 2)

    await filled.purge(30 * DAY, 800 * DAY)
    assert await asyncio.to_thread(holding, filled, OLD.encode(), KEPT.encode()) == set()
    assert await asyncio.to_thread(holding, filled, *subjects(*OLD_PERSONS, KEPT_PERSON)) == set()
    for url in [member.url for member in (filled.country.nation, *filled.country.provinces.values())]:
        with contextlib.closing(open_database(url)) as database, database.engine.connect() as connection:
            for table in (changes, notifications, requests):
                assert connection.execute(select(table)).all() == []


def counted(url: str, table: Any) -> dict[str, int]:
    """Return the counts of a database's only deletion, by store."""
    with contextlib.closing(open_database(url)) as database, database.engine.connect() as connection:
        return {row.store: row.removed_count for row in connection.execute(select(table))}
