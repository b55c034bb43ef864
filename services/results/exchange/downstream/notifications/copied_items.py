"""Selects by item the results of other nodes that a node gets as copies.

A node gets copies for items whose positives are announced, for example nucleic acid and antigen of SARS-CoV-2. Results
of other items are not copied. A look-up that names such an item finds them at the nation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import Connection, select

from services.domain.names import is_announced
from services.domain.region import within
from services.results.exchange.model import Change, Replica
from services.results.records.by_key import KEYS_AT_ONCE
from services.results.records.model import ReportName
from services.results.records.tables import results

_results = results
_Change = TypeVar("_Change", bound=Change)


def leave_out_other_items(connection: Connection, node: str, changes: Sequence[_Change]) -> list[_Change]:
    """Return the changes, leaving out results of which the node gets no copies.

    A result of an item that is not announced is left out. The result stays if another revision of its report is of an
    announced item, or came from the node itself or from a node below it. The node may have that other revision, and
    then needs the revision that corrects it.
    """
    others = [
        change.result for change in changes if isinstance(change, Replica) and not is_announced(change.result.item)
    ]
    if not others:
        return list(changes)
    needed = _find_reports_of_node(connection, node, sorted({result.subject_key for result in others}))
    return [
        change
        for change in changes
        if not isinstance(change, Replica)
        or is_announced(change.result.item)
        or (change.result.lab, change.result.report_number) in needed
    ]


def _find_reports_of_node(connection: Connection, node: str, subject_keys: Sequence[bytes]) -> set[ReportName]:
    """Return those reports of these subjects that the node may have.

    These are reports with a revision of an announced item, or with a revision that came from the node.
    """
    found: set[ReportName] = set()
    query = select(_results.c.lab, _results.c.report_number, _results.c.item, _results.c.source_node)
    for start in range(0, len(subject_keys), KEYS_AT_ONCE):
        some = _results.c.subject_key.in_(subject_keys[start : start + KEYS_AT_ONCE])
        for row in connection.execute(query.where(some)):
            if within(row.source_node, node) or is_announced(row.item):
                found.add((row.lab, row.report_number))
    return found
