"""validate_only: says what a real upload would say, and stores nothing."""

from __future__ import annotations

from services.domain.errors import ResourceExhausted
from services.domain.instant import MINUTE, Instant
from services.results.filing import compare_reports, count_rejected, key_of
from services.results.model import Acknowledgement, JudgedBatch, ReportKey
from services.results.store import Store
from services.results.upload import part_removed

MAX_REMEMBERED = 1_000_000
"""Reports of one rehearsal that are kept in memory to find those that come twice; some 200 MB."""


class Rehearsal:
    """One upload that only pretends: it compares with the store and with what it was sent before."""

    def __init__(self, lab: str, store: Store) -> None:
        self._lab = lab
        self._store = store
        self._seen: dict[str, ReportKey] = {}
        self._offset = 0

    async def judge_against_store(self, batch: JudgedBatch, now: Instant) -> Acknowledgement:
        """What a commit of the batch would be answered."""
        rows, removed = part_removed(batch.results, await self._store.get_horizon())
        numbers = [row.report_number for row in rows]
        known = await self._store.find_report_keys(self._lab, numbers) | {
            number: self._seen[number] for number in numbers if number in self._seen
        }
        fresh = []
        others = []
        for row in rows:
            if row.report_number in known:
                others.append(row)
            else:
                known[row.report_number] = key_of(row)
                fresh.append(row)
        comparison = compare_reports(known, others)
        self._seen |= known
        if len(self._seen) > MAX_REMEMBERED:
            raise ResourceExhausted(
                "OVERLOADED",
                "the rehearsal is too long; validate it in parts",
                metadata={"limit": str(MAX_REMEMBERED), "what": "reports in one validate_only upload"},
                retry_after=MINUTE,
            )
        rejections = [*batch.rejections, *removed, *comparison.conflicts]
        rejections.sort(key=lambda rejection: (rejection.tube_index, rejection.person_index))
        self._offset = max(self._offset, batch.offset + len(batch.person_counts))
        return Acknowledgement(
            self._offset,
            len(fresh) + len(comparison.revised),
            comparison.duplicate_count,
            count_rejected(rejections, batch.person_counts),
            rejections,
            now,
        )
