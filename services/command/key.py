"""`hutongd key`: shows how far a rotation of the pepper has come, says the next step, and ends the rotation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hutong_texts import Text, english, tr
from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Table, cast, delete, func, select

from services.command.databases import PEPPER_MARKS, is_within_reach, opened
from services.domain.instant import DAY, format_instant, shanghai_day_start
from services.domain.subject import Pepper
from services.results.documents.tables import document_links, key_pairs
from services.results.records.tables import results
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.storage.pepper_marks import check_marks, read_marks
from services.verification.refusals.tables import refusals
from services.verification.showings.tables import shown_reports
from services.verification.stored_decisions.tables import decisions


class _Store(NamedTuple):
    """A table whose rows have a key version.

    Attributes:
        time: the expression for the time at which a row was made.
        subject: a column that is NULL in rows without a key; such rows are not counted. None if every row has a key.
    """

    service: str
    table: Table
    time: ColumnElement[int]
    subject: Column[bytes] | None = None


_STORES = (
    _Store("results", results, results.c.upload_time),
    _Store("results", document_links, document_links.c.create_time),
    _Store("verification", decisions, decisions.c.evaluate_time, decisions.c.subject_tag),
    _Store("verification", refusals, refusals.c.create_time, refusals.c.subject_key),
    # A row of this table has only the day of the showing. It counts as made when that day began.
    _Store("verification", shown_reports, cast(shown_reports.c.show_day, BigInteger) * DAY + shanghai_day_start(0)),
)


class StoredRows(NamedTuple):
    """The rows of one key version in one table: how many, and when the oldest and the newest were made."""

    service: str
    table: str
    version: int
    row_count: int
    oldest: int
    newest: int


def key_status(settings: Settings) -> str:
    """Return, as lines for the operator, what the stores have of each version of the pepper, and the next steps.

    Raises:
        BadSetting: a pepper cannot be read, or is not the pepper under which a store was filled.
        UnusableDatabase: a database is not at this version's schema.
    """
    pepper = settings.pepper()
    found = _count_rows(settings, pepper)
    absent = [
        english("not within reach: the database of {service}", service=service)
        for service in PEPPER_MARKS
        if not is_within_reach(settings, service)
    ]
    lines = [english("written: version {version}", version=pepper.version)]
    if pepper.other is not None:
        lines.append(english("read too: version {version}", version=pepper.other.version))
    lines += [
        english(
            "version {version}: {rows} rows of {service} {table}, made from {oldest} to {newest}",
            version=one.version,
            rows=one.row_count,
            service=one.service,
            table=one.table,
            oldest=format_instant(one.oldest),
            newest=format_instant(one.newest),
        )
        for one in found
    ]
    return "\n".join(map(tr, [*lines, *absent, *_next_steps(settings, pepper, found)]))


def end_rotation(settings: Settings) -> str:
    """Remove the version that is no longer written from this node's databases. Return the last step for the operator.

    Raises:
        BadSetting: no rotation of the pepper is under way, or a store still has rows of the older version.
        UnusableDatabase: a database does not have this version's schema.
    """
    pepper = settings.pepper()
    older = pepper.other
    if older is None or older.version > pepper.version:
        raise BadSetting(
            english("nothing can end: no process may write the older version of the pepper any more (key status)")
        )
    for service in PEPPER_MARKS:
        if not is_within_reach(settings, service):
            raise BadSetting(
                english(
                    "the database of {service} is not within reach: end the change where both databases are",
                    service=service,
                )
            )
    for one in _count_rows(settings, pepper):
        if one.version == older.version:
            raise BadSetting(
                english(
                    "{service} has {row_count} rows of version {version} in {table} (key status)",
                    service=one.service,
                    row_count=one.row_count,
                    version=one.version,
                    table=one.table,
                )
            )
    for service, marks in PEPPER_MARKS.items():
        with opened(settings, service) as database:
            database.write_now(_remove, marks, older.version)
    return tr(
        "version {version} is removed from this node: start its processes without HUTONG_PEPPER_OTHER_*, "
        "and keep the parts of the older secret for the audit (docs/security.md)",
        version=older.version,
    )


def _remove(connection: Connection, marks: Table, version: int) -> None:
    connection.execute(delete(marks).where(marks.c.key_version == version))
    if marks is PEPPER_MARKS["results"]:
        # The stored key pairs are of this rotation of the pepper. The pairs of the next rotation would not replace
        # them.
        connection.execute(delete(key_pairs))


def _next_steps(settings: Settings, pepper: Pepper, found: Sequence[StoredRows]) -> Iterator[Text]:
    other = pepper.other
    if other is None:
        yield english("no change of the pepper is under way on this node")
        yield english(
            "to begin one: give the new secret to every process of every node as HUTONG_PEPPER_OTHER_FILE, with "
            "HUTONG_PEPPER_OTHER_VERSION={version}",
            version=pepper.version + 1,
        )
    elif other.version > pepper.version:
        yield english(
            "this machine reads version {version}; the other nodes say so themselves (hutongd key status)",
            version=other.version,
        )
        yield english("when every process of every node reads it, start each one with the two exchanged:")
        yield from _exchanged(settings)
    elif any(one.version == other.version for one in found):
        yield english(
            "the change goes on until purges have removed the last row of version {version}", version=other.version
        )
    else:
        yield english(
            "no row of version {version} is left: run hutongd key rotate --end when that is so at all nodes",
            version=other.version,
        )


def _exchanged(settings: Settings) -> Iterator[Text]:
    """Yield the settings under which the two versions change places.

    With them, the version that is written now is only read, and the other version is written.
    """
    for written, source in (
        ("HUTONG_PEPPER", settings.other_pepper_source),
        ("HUTONG_PEPPER_OTHER", settings.pepper_source),
    ):
        given = {"file": source.file, "descriptor": source.descriptor, "command": source.command}
        if source.kind in given:
            yield Text(f"  {written}_{source.kind.upper()}={given[source.kind]}")
        else:
            yield Text(f"  {written}_FILE={settings.data_dir / 'pepper'}")
        yield Text(f"  {written}_VERSION={source.version}")


def _count_rows(settings: Settings, pepper: Pepper) -> list[StoredRows]:
    """Count the rows of each version in the databases that can be reached. This reads whole tables."""
    found: list[StoredRows] = []
    for service, marks in PEPPER_MARKS.items():
        if not is_within_reach(settings, service):
            continue
        with opened(settings, service) as database:
            check_marks(database.read_now(read_marks, marks), pepper)
            for store in _STORES:
                if store.service == service:
                    found += database.read_long_now(_count, store)
    return found


def _count(connection: Connection, store: _Store) -> list[StoredRows]:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    version = store.table.c.key_version
    query = select(version, func.count(), func.min(store.time), func.max(store.time)).group_by(version)
    if store.subject is not None:
        query = query.where(store.subject.is_not(None))
    rows = connection.execute(query.order_by(version)).all()
    return [StoredRows(store.service, store.table.name, *row) for row in rows]
