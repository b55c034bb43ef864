"""Reads, finds and converts rows of reported refusals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, update

from services.domain.errors import NotFound
from services.domain.names import format_refusal
from services.storage.advisory_locks import AdvisoryLock, lock_names_until_commit
from services.verification.refusals.rules import Refusal
from services.verification.refusals.tables import refusals

if TYPE_CHECKING:
    from services.verification.decision.model import Ground

_C = refusals.c

MOST_SAME = 8
"""The most reports of one refusal that one transaction unites. Nodes that keep the rules store two at most."""


def select_refusal(connection: Connection, uuid: str, *, to_change: bool = False) -> Refusal:
    """Return one report. With `to_change`, no other transaction changes the report until the current transaction ends.

    Raises:
        NotFound: there is no such report.
    """
    refusal = find_refusal(connection, uuid, to_change=to_change)
    if refusal is None:
        raise NotFound.resource(format_refusal(uuid))
    return refusal


def find_refusal(connection: Connection, uuid: str, *, to_change: bool = False) -> Refusal | None:
    """Return one report; None if there is none.

    With `to_change`, no other transaction changes the report until the current transaction ends.
    """
    query = select(refusals).where(_C.uuid == uuid)
    row = connection.execute(query.with_for_update() if to_change else query).one_or_none()
    return None if row is None else from_row(row)


def lock_same(connection: Connection, keys: Iterable[bytes]) -> None:
    """Lock these keys until the transaction ends, so that no other transaction stores reports with any of them.

    Two reports may have one key in common, but in different columns. No unique index then excludes the second report. A
    transaction calls this function once, before it locks any row.
    """
    if connection.dialect.name == "postgresql" and (names := [key.hex() for key in keys]):
        lock_names_until_commit(connection, AdvisoryLock.SAME_REFUSALS, names)


def find_same(connection: Connection, refusal: Refusal) -> list[Refusal]:
    """Return the reports of the same refusal that are no duplicates, the earliest first.

    There can be more than one. Nodes that know different versions of the pepper store reports whose hashes have nothing
    in common. `refusal` may be the first report that has the hashes of both versions. Reports whose hashes of one
    version differ are about two persons, whatever their other hashes are.
    """
    key, other_key = refusal.same_report_key, refusal.other_same_report_key
    same: list[ColumnElement[bool]] = []
    if refusal.request_hash is not None:
        same.append(_C.request_hash == refusal.request_hash)
    if key is not None:
        same.append(_C.same_report_key == key)
    # A report that was stored under the other version of the pepper has the same two hashes in swapped columns.
    crossed = ((_C.other_same_report_key, key), (_C.same_report_key, other_key))
    known = [(column, value) for column, value in crossed if value is not None]
    fits = [column.is_(None) | (column == value) for column, value in known]
    same += [and_(column == value, _C.key_version != refusal.key_version, *fits) for column, value in known]
    if not same:
        return []
    query = select(refusals).where(or_(*same), _C.duplicate_of == "").order_by(_C.uuid).limit(MOST_SAME)
    return [from_row(row) for row in connection.execute(query)]


def write_changes(connection: Connection, stored: Refusal, changed: Refusal) -> None:
    """Write the columns in which a report differs from the stored report.

    The row need not be locked. What another transaction writes meanwhile into other columns stays.
    """
    before, after = to_row(stored), to_row(changed)
    values = {name: value for name, value in after.items() if value != before[name]}
    connection.execute(update(refusals).where(_C.uuid == stored.uuid).values(values))


def to_row(refusal: Refusal) -> dict[str, Any]:
    """Return the columns of a report."""
    return asdict(refusal) | {
        "grounds": to_bits(refusal.grounds),
        "forbidden_grounds": to_bits(refusal.forbidden_grounds),
    }


def from_row(row: Row[Any]) -> Refusal:
    """Return the report of a row."""
    values = dict(row._mapping)
    values["grounds"] = from_bits(row.grounds)
    values["forbidden_grounds"] = from_bits(row.forbidden_grounds)
    return Refusal(**values)


def to_bits(grounds: Iterable[Ground]) -> int:
    """Return a set of grounds as an integer: bit n means ground n."""
    return sum(1 << ground for ground in grounds)


def from_bits(bits: int) -> tuple[Ground, ...]:
    """Return the grounds of a stored set."""
    grounds: Sequence[Any] = [ground for ground in range(bits.bit_length()) if bits >> ground & 1]
    return tuple(grounds)
