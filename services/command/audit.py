"""`hutongd audit`: checks and prints the audit of the services, and finds out who has read data about a person."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import orjson
from hutong.type.v1.identity_pb2 import DocumentType
from hutong_texts import english, tr
from sqlalchemy import Connection, select

from services.audit.check import check_audit
from services.audit.convert import event_to_object
from services.audit.keys import AuditKeys
from services.audit.model import Chain, LoggedHead
from services.audit.queries import count_bulk_reads, export_events, find_events
from services.audit.tables import HEAD_LENGTH, AuditTables
from services.audit.trail import Trail
from services.command.databases import check_pepper, is_within_reach
from services.command.operator import operator_name
from services.domain.document import BadDocument, canonical_document
from services.domain.instant import Instant
from services.domain.names import format_decision
from services.domain.subject import Pepper
from services.results.documents.store import find_linked_documents
from services.runtime.audit import AuditKind, CallAudit, Subject
from services.runtime.caller import LOCAL, Caller
from services.runtime.clock import FixedClock
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.storage.connections import create_inspecting_engine
from services.storage.engine import open_database
from services.storage.migrate import SERVICES, check_schema
from services.verification.stored_decisions.subject_tag import SubjectTag, is_tagged
from services.verification.stored_decisions.tables import decisions

WHO_READ = "hutongd audit who-read"
"""The method in the row by which a search records itself."""
DOCUMENT_TYPES = {
    name.removeprefix("DOCUMENT_TYPE_").lower().replace("_", "-"): number
    for name, number in DocumentType.items()
    if number
}
"""The types of documents by the words that the command accepts, such as "passport"."""


def read_logged_head(text: str) -> tuple[str, LoggedHead]:
    """Read a head of the log, given as SERVICE:CHAIN:NUMBER:HEAD. Return the service and its head.

    Raises:
        ValueError: the text has another form.
    """
    service, chain, number, head = text.split(":")
    if service not in SERVICES or len(bytes.fromhex(head)) != HEAD_LENGTH:
        raise ValueError(text)
    return service, LoggedHead(Chain(int(chain)), int(number), head.lower())


def verify_audit(
    settings: Settings, names: Sequence[str], logged: Sequence[tuple[str, LoggedHead]] = ()
) -> tuple[list[str], bool]:
    """Check the audit of services, and compare it with the given heads of the log.

    Return lines for people, and whether all is well.
    """
    lines: list[str] = []
    is_well = True
    for name, connection, tables, keys in _audits(settings, names):
        report = check_audit(connection, tables, keys, [head for service, head in logged if service == name])
        lines.append(tr("{name}: {rows} rows under {seals} seals", name=name, rows=report.rows, seals=report.seals))
        lines += [tr("{name}: {fault}", name=name, fault=fault) for fault in report.faults]
        lines += [tr("{name}: {fault}", name=name, fault=restored) for restored in report.restores]
        lines += [
            tr("{name}: sealed late, because a process was killed: {rows}", name=name, rows=rows)
            for rows in report.late
        ]
        lines += [tr("{name}: not sealed yet: {rows}", name=name, rows=rows) for rows in report.unsealed]
        is_well = is_well and not report.faults
    return lines, is_well


def export_audit(settings: Settings, names: Sequence[str], since: Instant, output: TextIO) -> None:
    """Print all rows from an instant on, one JSON object a line. The rows are sorted by service, then by time."""
    for name, connection, tables, _ in _audits(settings, names):
        for row in export_events(connection, tables, since):
            print(orjson.dumps(event_to_object(row, name)).decode(), file=output)


def who_read(
    settings: Settings, names: Sequence[str], document: tuple[int, str, str], now: Instant, output: TextIO
) -> None:
    """Print the rows about the holder of a document, one JSON object a line.

    `document` is the type, number and issuing country. If Results is among the services, the rows about linked
    documents are printed too.

    The row of a read of many persons names no person. The sums of such reads are printed for each service, because any
    of these reads may have been about the person.

    The search itself counts as a read of the person. In each service its row is durable before anything of that service
    is printed.

    Raises:
        BadSetting: the document number is invalid.
        Unavailable: the row of the search cannot be stored.
    """
    try:
        canonical = canonical_document(*document)
    except BadDocument as error:
        raise BadSetting(
            english("the {field} of the document: {expected}", field=error.field, expected=error.expected)
        ) from None
    own = settings.pepper().subject_keys(canonical)
    documents = [own]
    for name, connection, tables, keys in _audits(settings, names):
        if name == "results":
            pairs = [(own[0], other) for other in own[1:]]
            documents = find_linked_documents(connection, own[:1], pairs).get(own[0], documents)
        subject_keys = [key for keys_of_document in documents for key in keys_of_document]
        decided = _decisions_about(connection, settings.pepper(), subject_keys) if name == "verification" else []
        found = find_events(connection, tables, keys, subject_keys, now, decided)
        _record_search(settings, name, [one[0] for one in documents], len(found), now)
        for row in found:
            print(orjson.dumps(event_to_object(row, name)).decode(), file=output)
        for bulk in count_bulk_reads(connection, tables):
            sums = {"service": name, "bulk": True, **bulk._asdict()}
            print(orjson.dumps(sums).decode(), file=output)


def _record_search(settings: Settings, name: str, subject_keys: Sequence[bytes], count: int, now: Instant) -> None:
    """Store the row of a search in the service that is searched. There is one row for each document of the person."""
    tables, keys = audit_of(settings, name)
    database = open_database(settings.service(name).database_url)
    try:
        trail = Trail(database, tables, keys, settings.jurisdiction, FixedClock(now))
        caller = Caller(LOCAL, operator_name())
        audit = CallAudit(trail, WHO_READ, "", caller, "", lambda: [Subject()])
        trail.record_now([audit.event(AuditKind.READ, Subject("", key), count=count) for key in subject_keys])
    finally:
        database.close()


def audit_of(settings: Settings, name: str) -> tuple[AuditTables, AuditKeys]:
    """Return the tables and the keys of a service's audit."""
    tables: AuditTables = importlib.import_module(f"services.{name}.tables").audit
    return tables, AuditKeys.of_secret(b"", name) if name == "policy" else AuditKeys.of_pepper(settings.pepper(), name)


def _decisions_about(connection: Connection, pepper: Pepper, subject_keys: Sequence[bytes]) -> list[str]:
    """Return the names of the stored decisions about a person.

    A stored decision shows whom it is about only by its tag.
    """
    columns = decisions.c
    query = select(columns.uuid, columns.subject_tag, columns.key_version).where(columns.subject_tag.is_not(None))
    return [
        format_decision(uuid)
        for uuid, tag, version in connection.execute(query)
        if is_tagged(SubjectTag(tag, version), uuid, subject_keys, pepper)
    ]


def _audits(settings: Settings, names: Sequence[str]) -> Iterator[tuple[str, Connection, AuditTables, AuditKeys]]:
    """Open the audit of each service for reading. Skip SQLite databases that are not on this machine.

    Raises:
        BadSetting: a database was filled under another pepper, so every row of its audit would seem forged.
    """
    for name in names:
        if len(names) > 1 and not is_within_reach(settings, name):
            continue
        url = settings.service(name).database_url
        check_schema(name, url)
        tables, keys = audit_of(settings, name)
        engine = create_inspecting_engine(url)
        with contextlib.ExitStack() as opened:
            opened.callback(engine.dispose)
            connection: Any = opened.enter_context(engine.connect())
            check_pepper(connection, settings, name)
            yield name, connection, tables, keys
