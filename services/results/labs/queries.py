"""Statements of the register of laboratories."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hutong_texts import english
from sqlalchemy import Connection, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.engine import Row

from services.domain.errors import AlreadyExists, FailedPrecondition, NotFound
from services.domain.names import format_lab, format_node
from services.domain.normal_form import normal_form
from services.domain.region import NATION
from services.results.labs import tables
from services.results.labs.model import AUTHORIZED, Lab, LabQuery, StandingChange
from services.results.labs.signing_keys import find_signing_keys
from services.storage.advisory_locks import AdvisoryLock, share_until_commit
from services.storage.columns import in_region
from services.storage.upsert import insert_if_absent

MAX_OF_ONE_NAME = 10
"""The most laboratories that a search for one name returns, in order of code. A name on a paper rarely fits more than
one laboratory."""
_LAST_CHARACTER = "\U0010ffff"


def create_lab(connection: Connection, lab: Lab, actor: str | None = None, region: str = "") -> Lab:
    """Register a laboratory with its first standing, and return the stored laboratory.

    If the same content is registered already, nothing is written. The registration replaces what a node below has
    stated of the laboratory, if the node has stated a region inside `region`, the region of the caller. An empty region
    includes every region.

    Raises:
        AlreadyExists: the laboratory is registered here with other content, or a node below has registered it in a
            region outside the caller's.
    """
    labs, values = tables.labs, lab_values(lab)
    share_until_commit(connection, AdvisoryLock.HOMES)
    # Without the condition on the region, a city's supervisor could take a laboratory of another city at the province.
    received = update(labs).where(labs.c.uscc == lab.uscc, labs.c.source_node != "", in_region(labs.c.region, region))
    if (
        connection.execute(insert_if_absent(connection, labs).values(**values)).rowcount == 0
        and connection.execute(received.values(**values, source_node="")).rowcount == 0
    ):
        stored = get_lab(connection, lab.uscc)
        stated = (lab.display_name, lab.region, lab.contact, lab.authorize_time)
        if (stored.display_name, stored.region, stored.contact, stored.authorize_time) != stated:
            name = format_lab(lab.uscc)
            raise AlreadyExists(
                "ALREADY_EXISTS", english("{name} is registered already", name=name), metadata={"resource": name}
            )
        return stored
    first = StandingChange(AUTHORIZED, lab.authorize_time, "registered", lab.create_time, actor)
    add_standing(connection, lab.uscc, first)
    return get_lab(connection, lab.uscc)


def update_lab(connection: Connection, uscc: str, values: Mapping[str, str]) -> tuple[Lab, bool]:
    """Change the name or the contact of a laboratory that this node has registered.

    Args:
        connection: the database.
        uscc: the code of the laboratory.
        values: the new values of `display_name`, `contact` or both.

    Returns:
        The stored laboratory, and whether a value has changed.

    Raises:
        NotFound: it is not registered.
        FailedPrecondition: CONFLICT, a node below has registered it.
    """
    labs = tables.labs
    of_lab = select(labs.c.source_node, labs.c.display_name, labs.c.contact).where(labs.c.uscc == uscc)
    row = connection.execute(of_lab.with_for_update()).mappings().first()
    if row is None:
        raise NotFound.resource(format_lab(uscc))
    if row["source_node"]:
        node = format_node(row["source_node"])
        text = english("{node} has registered the laboratory: change it there", node=node)
        raise FailedPrecondition("CONFLICT", text, metadata={"resource": format_lab(uscc)})
    is_changed = any(row[name] != value for name, value in values.items())
    if is_changed:
        forms = {"normal_name": normal_form(values["display_name"])} if "display_name" in values else {}
        connection.execute(update(labs).where(labs.c.uscc == uscc).values({**values, **forms}))
    return get_lab(connection, uscc), is_changed


def lab_values(lab: Lab) -> dict[str, Any]:
    """Return a laboratory's row, without the history of its standing."""
    return {
        "uscc": lab.uscc,
        "display_name": lab.display_name,
        "region": lab.region,
        "contact": lab.contact or "",
        "authorize_time": lab.authorize_time,
        "create_time": lab.create_time,
        "normal_name": normal_form(lab.display_name),
    }


def add_standing(connection: Connection, uscc: str, change: StandingChange) -> Lab:
    """Add an entry to a laboratory's history. Raises NotFound if it is not registered.

    The laboratory's row is locked, so that concurrent changes get different entry numbers.
    """
    labs, standings = tables.labs, tables.lab_standings
    if connection.execute(select(labs.c.uscc).where(labs.c.uscc == uscc).with_for_update()).first() is None:
        raise NotFound.resource(format_lab(uscc))
    newest = connection.execute(select(func.max(standings.c.entry)).where(standings.c.uscc == uscc)).scalar()
    connection.execute(
        insert(standings).values(
            uscc=uscc,
            entry=(newest or 0) + 1,
            standing=change.standing,
            effective_time=change.effective_time,
            reason=change.reason,
            record_time=change.record_time,
            actor=change.actor,
        )
    )
    return get_lab(connection, uscc)


def get_lab(connection: Connection, uscc: str) -> Lab:
    """Return a laboratory with its history. Raises NotFound if it is not registered."""
    found = find_labs(connection, [uscc])
    if uscc not in found:
        raise NotFound.resource(format_lab(uscc))
    return found[uscc]


def find_labs(connection: Connection, usccs: Sequence[str]) -> dict[str, Lab]:
    """Return laboratories with their histories, by code. Codes that are not registered are left out."""
    labs = tables.labs
    rows = connection.execute(select(labs).where(labs.c.uscc.in_(usccs))).all()
    return {lab.uscc: lab for lab in _with_histories(connection, rows)}


def list_labs(connection: Connection, query: LabQuery, after: str, limit: int) -> list[Lab]:
    """Return the laboratories that match a query in order of code, after the code `after`."""
    labs = tables.labs
    conditions = [labs.c.uscc > after, in_region(labs.c.region, query.region)]
    if query.normal_name:
        conditions.append(labs.c.normal_name == query.normal_name)
    if query.normal_prefix:
        first = query.normal_prefix
        conditions.append(and_(labs.c.normal_name >= first, labs.c.normal_name <= first + _LAST_CHARACTER))
    statement = select(labs).where(*conditions).order_by(labs.c.uscc).limit(limit)
    return _with_histories(connection, connection.execute(statement).all())


def find_by_names(connection: Connection, normal_names: Collection[str]) -> dict[str, list[str]]:
    """Return, for each name in normal form, the codes of at most MAX_OF_ONE_NAME laboratories, in order."""
    labs = tables.labs
    number = func.row_number().over(partition_by=labs.c.normal_name, order_by=labs.c.uscc).label("number")
    of_names = select(labs.c.normal_name, labs.c.uscc, number).where(labs.c.normal_name.in_(sorted(normal_names)))
    found = of_names.subquery()
    statement = select(found.c.normal_name, found.c.uscc).where(found.c.number <= MAX_OF_ONE_NAME)
    codes: dict[str, list[str]] = {}
    for name, uscc in connection.execute(statement.order_by(found.c.uscc)):
        codes.setdefault(name, []).append(uscc)
    return codes


def fill_normal_names(connection: Connection) -> int:
    """Store the normal form of each name without one. Return how many forms were stored.

    During a rolling upgrade, a process that is older than revision 0011 registers laboratories without a normal form.
    """
    labs = tables.labs
    lacking = select(labs.c.uscc, labs.c.display_name).where(labs.c.normal_name == "").order_by(labs.c.uscc)
    forms = {uscc: normal_form(name) for uscc, name in connection.execute(lacking)}
    found = [{"code": uscc, "form": form} for uscc, form in forms.items() if form]
    if found:
        statement = update(labs).where(labs.c.uscc == bindparam("code")).values(normal_name=bindparam("form"))
        connection.execute(statement, found)
    return len(found)


def codes_within(connection: Connection, region: str) -> list[str]:
    """Return the codes of all laboratories in a region and below, in order."""
    labs = tables.labs
    query = select(labs.c.uscc).where(in_region(labs.c.region, region)).order_by(labs.c.uscc)
    return list(connection.execute(query).scalars())


def _with_histories(connection: Connection, rows: Sequence[Row]) -> list[Lab]:  # type: ignore[type-arg]
    """Return laboratories with the entries that count.

    The entries of this node, the nation and the laboratory's home count.
    """
    standings, labs = tables.lab_standings, tables.labs
    changes: dict[str, list[StandingChange]] = {row.uscc: [] for row in rows}
    counts = or_(standings.c.source_node.in_(("", NATION)), standings.c.source_node == labs.c.home)
    query = (
        select(standings)
        .join(labs, labs.c.uscc == standings.c.uscc)
        .where(standings.c.uscc.in_(list(changes)), counts)
        .order_by(standings.c.entry)
    )
    keys = find_signing_keys(connection, list(changes))
    for row in connection.execute(query) if changes else ():
        change = StandingChange(row.standing, row.effective_time, row.reason, row.record_time, row.actor)
        changes[row.uscc].append(change)
    return [
        Lab(
            row.uscc,
            row.display_name,
            row.region,
            row.contact,
            row.authorize_time,
            row.create_time,
            tuple(changes[row.uscc]),
            row.home,
            keys[row.uscc],
        )
        for row in rows
    ]
