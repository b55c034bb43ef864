"""Stores for whom reports were first shown, and the flags. The first transaction that commits a report wins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hutong.verification.v1 import evidence_flag_pb2
from prometheus_client import Counter
from sqlalchemy import Connection, Executable, and_, func, or_, select, update

from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.columns import in_region
from services.storage.engine import Database
from services.storage.upsert import insert_if_absent, insert_or_update
from services.verification.cases.model import KIND_OF_FLAG, CaseOpening
from services.verification.cases.opening import count_opened, open_cases
from services.verification.showings.model import OTHER_TIMES, ReportTags, Showing, compare, from_bits, to_bits
from services.verification.showings.tables import evidence_flags, shown_reports

if TYPE_CHECKING:
    from services.verification.showings.model import FlagKind

FLAGGED = Counter("hutong_evidence_flags_total", "Reports shown as evidence that were flagged, by kind", ["kind"])

Position: TypeAlias = tuple[str, str]
"""The end of a page: a decision, and the report's tag as hexadecimal."""


class EvidenceFlag(NamedTuple):
    """A flagged report. The contract describes each field (`hutong.verification.v1.EvidenceFlag`)."""

    lab: str
    report_number: str
    kinds: Sequence[FlagKind]
    region: str
    show_day: int
    decision: str
    other_decision: str
    report_tag: bytes

    @property
    def position(self) -> Position:
        """The position of a page that ends with this flag."""
        return self.decision, self.report_tag.hex()


class FlagQuery(NamedTuple):
    """The filter of a listing. Empty fields match everything. `lab` is a code."""

    region: str = ""
    kinds: Sequence[FlagKind] = ()
    lab: str = ""


class FlagStore:
    """Reads flags."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_flags(self, query: FlagQuery, before: Position | None, limit: int) -> list[EvidenceFlag]:
        """Return the flags that match a query, newest first, before a position."""
        return await self._database.read(_list_flags, query, before, limit)

    async def flags_of(self, decision: str) -> list[EvidenceFlag]:
        """Return the flags of a decision's evidence."""
        return await self._database.read(_flags_of, decision)


RegionOf: TypeAlias = Callable[[Connection, str], str]
"""Returns the region of a decision's place, by the decision's UUID; empty if the decision is no longer stored."""


def remember_showings(connection: Connection, showings: Sequence[Showing], region_of: RegionOf) -> Callable[[], None]:
    """Remember reports that are shown for the first time, store flags, and open cases.

    All of this happens inside the transaction that stores the decisions. Return a function that counts flags and cases.
    Call it after the commit.
    """
    # A transaction may store the decisions of several batches. Without the lock, two such transactions that remember
    # the same reports in different orders would wait for each other.
    lock_until_commit(connection, AdvisoryLock.SHOWN_REPORTS)
    first = _remember(connection, [showing for showing in showings if showing.is_identified])
    rows: dict[tuple[str, bytes], dict[str, Any]] = {}
    openings: list[CaseOpening] = []
    for showing in showings:
        earlier = _first_of(showing, first)
        differences = set() if earlier is None else _differences(showing, *earlier)
        row = _flag(connection, showing, earlier, differences, region_of)
        if showing.is_certain and earlier is not None and differences:
            _, tags = earlier
            first[tags.report] = _FirstShowing(tags, showing.decision, showing.day)
            _replace_first(connection, first[tags.report])
        if row is not None:
            same = rows.setdefault((row["decision"], row["report_tag"]), row)
            same["kinds"] |= row["kinds"]
            same["other_decision"] = same["other_decision"] or row["other_decision"]
        if showing.is_identified:
            openings.extend(_openings(showing, row))
    if rows:
        connection.execute(_insert_flags(connection), list(rows.values()))
    opened = open_cases(connection, openings)
    found = [kind for row in rows.values() for kind in from_bits(row["kinds"])]

    def count() -> None:
        for kind in found:
            FLAGGED.labels(_NAMES[kind]).inc()
        count_opened(opened)

    return count


def find_first_showings(connection: Connection, tags: Collection[bytes]) -> dict[bytes, str]:
    """Return the decision for which each report was first shown, by the report's tag. Other reports are left out."""
    columns = (shown_reports.c.report_tag, shown_reports.c.decision)
    rows = connection.execute(select(*columns).where(shown_reports.c.report_tag.in_(tags)))
    return {bytes(row.report_tag): row.decision for row in rows}


def to_prefecture(region: str) -> str:
    """Return the code of a region's prefecture. For a province or the nation, return its own code."""
    return f"{region[:4]}00"


class _FirstShowing(NamedTuple):
    """The remembered showing of a report."""

    tags: ReportTags
    decision: str
    day: int


_NAMES = {
    number: name.removeprefix("EVIDENCE_FLAG_KIND_") for name, number in evidence_flag_pb2.EvidenceFlagKind.items()
}


def _remember(connection: Connection, showings: Sequence[Showing]) -> dict[bytes, _FirstShowing]:
    """Insert the reports that have not been shown before. Return the first showing of each report, by its tag."""
    if not showings:
        return {}
    table = shown_reports
    tags = sorted({one.report for showing in showings for one in showing.tags})
    query = select(table).where(table.c.report_tag.in_(tags))
    # A report may be known already under another version of the pepper. Such a report is not inserted a second time.
    known = _read(connection, query) if any(len(showing.tags) > 1 for showing in showings) else {}
    new = {
        showing.tags[0].report: showing
        for showing in reversed(showings)
        if not any(one.report in known for one in showing.tags)
    }
    if new:
        connection.execute(insert_if_absent(connection, table), [_row(showing) for showing in new.values()])
    return _read(connection, query)


def _read(connection: Connection, query: Any) -> dict[bytes, _FirstShowing]:
    found = {}
    for row in connection.execute(query):
        report, subject = bytes(row.report_tag), bytes(row.subject_tag)
        times = [None if tag is None else bytes(tag) for tag in (row.sample_time_tag, row.report_time_tag)]
        tags = ReportTags(row.key_version, report, subject, *times)
        found[report] = _FirstShowing(tags, row.decision, row.show_day)
    return found


def _row(showing: Showing) -> dict[str, Any]:
    tags = showing.tags[0]
    return {
        "report_tag": tags.report,
        "subject_tag": tags.subject,
        "sample_time_tag": tags.sample_time,
        "report_time_tag": tags.report_time,
        "key_version": tags.version,
        "decision": showing.decision,
        "show_day": showing.day,
    }


def _first_of(showing: Showing, first: dict[bytes, _FirstShowing]) -> tuple[_FirstShowing, ReportTags] | None:
    """Return the first showing of the report of `showing`, and the hashes of `showing` under the same pepper."""
    if showing.is_identified:
        for tags in showing.tags:
            if tags.report in first:
                return first[tags.report], tags
    return None


def _differences(showing: Showing, first: _FirstShowing, tags: ReportTags) -> set[FlagKind]:
    """Return why a showing does not fit the first one. `tags` are its hashes under the pepper of the first one."""
    if first.decision == showing.decision:
        return set()
    found = set(compare(first.tags, tags))
    # Times that the laboratory has signed are right.
    return found - {OTHER_TIMES} if showing.is_signed and not showing.is_certain else found


def _replace_first(connection: Connection, certain: _FirstShowing) -> None:
    """Remember a certain showing in place of an earlier one that does not fit it.

    From then on, later showings are compared with the certain one. Otherwise a holder whose report was borrowed before
    would be flagged, and whoever borrowed it would not.
    """
    table, tags = shown_reports, certain.tags
    row = {
        "subject_tag": tags.subject,
        "sample_time_tag": tags.sample_time,
        "report_time_tag": tags.report_time,
        "decision": certain.decision,
        "show_day": certain.day,
    }
    connection.execute(update(table).where(table.c.report_tag == tags.report).values(row))


def _flag(
    connection: Connection,
    showing: Showing,
    earlier: tuple[_FirstShowing, ReportTags] | None,
    differences: set[FlagKind],
    region_of: RegionOf,
) -> dict[str, Any] | None:
    """Return the row with a showing's flags.

    If the showing is certain, the row is for the earlier showing that does not fit it.
    """
    kinds = set(showing.kinds)
    decision, other, region, day = showing.decision, "", showing.region, showing.day
    if earlier is not None and differences:
        first, _ = earlier
        kinds |= differences
        other = first.decision
        if showing.is_certain:
            decision, other, day = other, decision, first.day
            region = region_of(connection, decision)
    # A decision that is no longer stored cannot be examined, so it is not flagged.
    if not kinds or not region:
        return None
    return {
        "decision": decision,
        "report_tag": showing.tags[0].report,
        "lab": showing.lab,
        "report_number": showing.report_number,
        "kinds": to_bits(kinds),
        "region": to_prefecture(region),
        "show_day": day,
        "other_decision": other,
    }


def _insert_flags(connection: Connection) -> Executable:
    """Return an INSERT of flags. A flag that is stored already gets the kinds that it lacks."""
    insert, stored = insert_or_update(connection, evidence_flags), evidence_flags.c
    added = {
        "kinds": stored.kinds.bitwise_or(insert.excluded.kinds),
        "other_decision": func.coalesce(func.nullif(stored.other_decision, ""), insert.excluded.other_decision),
    }
    return insert.on_conflict_do_update(index_elements=[stored.decision, stored.report_tag], set_=added)


def _openings(showing: Showing, flag: dict[str, Any] | None) -> Iterator[CaseOpening]:
    """Yield the cases that a showing opens, by its use in the decision and by its flags."""
    if showing.case_kind is not None:
        region = to_prefecture(showing.region)
        fields = showing.differing_fields
        yield CaseOpening(
            showing.lab, showing.report_number, showing.case_kind, fields, region, showing.decision, "", showing.time
        )
    if flag is None:
        return
    for kind in from_bits(flag["kinds"]):
        if kind in KIND_OF_FLAG:
            yield CaseOpening(
                showing.lab,
                showing.report_number,
                KIND_OF_FLAG[kind],
                (),
                flag["region"],
                flag["decision"],
                flag["other_decision"],
                showing.time,
            )


def _list_flags(connection: Connection, query: FlagQuery, before: Position | None, limit: int) -> list[EvidenceFlag]:
    table = evidence_flags
    conditions = [in_region(table.c.region, query.region)]
    if query.kinds:
        conditions.append(table.c.kinds.bitwise_and(to_bits(query.kinds)) != 0)
    if query.lab:
        conditions.append(table.c.lab == query.lab)
    if before is not None:
        decision, tag = before[0], bytes.fromhex(before[1])
        at = and_(table.c.decision == decision, table.c.report_tag < tag)
        conditions.append(or_(table.c.decision < decision, at))
    order = (table.c.decision.desc(), table.c.report_tag.desc())
    return _flags(connection, select(table).where(*conditions).order_by(*order).limit(limit))


def _flags_of(connection: Connection, decision: str) -> list[EvidenceFlag]:
    table = evidence_flags
    return _flags(connection, select(table).where(table.c.decision == decision).order_by(table.c.report_tag))


def _flags(connection: Connection, query: Any) -> list[EvidenceFlag]:
    return [
        EvidenceFlag(
            row.lab,
            row.report_number,
            from_bits(row.kinds),
            row.region,
            row.show_day,
            row.decision,
            row.other_decision,
            bytes(row.report_tag),
        )
        for row in connection.execute(query)
    ]
