"""Opens cases in the transaction that stores the decisions, so that a case is as durable as its decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from hutong.verification.v1 import evidence_case_pb2
from prometheus_client import Counter as Metric
from sqlalchemy import Connection, select, tuple_

from services.runtime.ids import uuid7
from services.storage.upsert import insert_if_absent
from services.verification.cases.model import CaseOpening
from services.verification.cases.tables import evidence_cases

if TYPE_CHECKING:
    from services.verification.cases.model import CaseKind

OPENED = Metric("hutong_evidence_cases_total", "Cases of evidence that were opened, by kind", ["kind"])

_NAMES = {
    number: name.removeprefix("EVIDENCE_CASE_KIND_") for name, number in evidence_case_pb2.EvidenceCaseKind.items()
}


def open_cases(connection: Connection, openings: Sequence[CaseOpening]) -> Counter[str]:
    """Open a case for each opening, unless its report already has a case of the same kind.

    Return how many were opened, by kind.

    The caller counts the opened cases in OPENED after the commit. The caller holds AdvisoryLock.SHOWN_REPORTS, so that
    two transactions that open the same cases in different orders do not wait for each other.
    """
    opened: Counter[str] = Counter()
    # Nearly every decision opens no case, and few decisions open more than one, so single statements are enough.
    for opening in openings:
        row = {
            **opening._asdict(),
            "uuid": uuid7(),
            "differing_fields": ",".join(opening.differing_fields),
            "assignee": "",
            "finding": 0,
            "note": "",
        }
        row["create_time"] = row.pop("time")
        opened[_NAMES[opening.kind]] += connection.execute(
            insert_if_absent(connection, evidence_cases).values(row)
        ).rowcount
    return opened


def find_with_case(
    connection: Connection, reports: Collection[tuple[str, str]], kind: CaseKind
) -> set[tuple[str, str]]:
    """Return which of the reports have a case of a kind. A report is named by its laboratory's code and its number."""
    of_report = (evidence_cases.c.lab, evidence_cases.c.report_number)
    query = select(*of_report).where(tuple_(*of_report).in_(list(reports)), evidence_cases.c.kind == kind)
    return {(row.lab, row.report_number) for row in connection.execute(query)}


def count_opened(opened: Counter[str]) -> None:
    """Count opened cases in the metric."""
    for kind, count in opened.items():
        OPENED.labels(kind).inc(count)
