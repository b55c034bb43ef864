"""Laboratories that may report and have reported before, but have uploaded nothing for some time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from services.domain.instant import Instant
from services.results.labs.copies import find_known
from services.results.labs.model import MAY_REPORT, Lab
from services.results.labs.tables import labs
from services.results.timeliness.model import Question
from services.results.timeliness.tables import last_uploads
from services.storage.columns import in_region

_AT_ONCE = 1000
"""How many laboratories are read in one statement."""


def find_silent(
    connection: Connection, codes: Sequence[str], known: Mapping[str, Lab], question: Question
) -> dict[str, Instant]:
    """Return the last upload times of those of these laboratories that are silent."""
    late = last_uploads.c.upload_time < question.silent_before
    rows = connection.execute(select(last_uploads).where(last_uploads.c.lab.in_(codes), late))
    return {row.lab: row.upload_time for row in rows if row.lab in known and _may_report(known[row.lab], question)}


def find_silent_in(connection: Connection, region: str, question: Question) -> dict[str, str]:
    """Return the regions of the silent laboratories of a region, by code."""
    source = last_uploads.join(labs, labs.c.uscc == last_uploads.c.lab)
    late = last_uploads.c.upload_time < question.silent_before
    query = select(last_uploads.c.lab, labs.c.region).select_from(source).where(late, in_region(labs.c.region, region))
    regions = {row.lab: row.region for row in connection.execute(query)}
    codes = list(regions)
    silent: dict[str, str] = {}
    for first in range(0, len(codes), _AT_ONCE):
        some = codes[first : first + _AT_ONCE]
        known = find_known(connection, some)
        silent |= {code: regions[code] for code in some if code in known and _may_report(known[code], question)}
    return silent


def _may_report(lab: Lab, question: Question) -> bool:
    return lab.standing_at(question.now) in MAY_REPORT
