"""Answers uploads with `validate_only` as a real upload would be answered. Nothing is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

from hutong_texts import english

from services.domain.errors import ResourceExhausted
from services.domain.instant import MINUTE
from services.domain.names import DEFAULT_ITEM
from services.results.records.differences import Digest, content_of, digest_of
from services.results.records.model import NewResult, ReportKey
from services.results.upload.claims import compare_reports, key_of
from services.results.upload.model import Acknowledgement, ValidatedBatch
from services.results.upload.replays import count_rejected
from services.results.upload.store import UploadStore
from services.results.upload.validation import part_removed


class DryRunBudget:
    """Limits the number of reports that all dry runs of a process keep in memory."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._free = capacity

    def take(self, reports: int) -> None:
        """Reserve capacity for more reports.

        Raises:
            ResourceExhausted: OVERLOADED, too little capacity is left.
        """
        if reports > self._free:
            raise ResourceExhausted(
                "OVERLOADED",
                english("the dry runs of this process hold too many reports; validate in smaller parts, or later"),
                metadata={"limit": str(self._capacity), "what": "reports in validate_only uploads"},
                retry_after=MINUTE,
            )
        self._free -= reports

    def give_back(self, reports: int) -> None:
        """Release capacity."""
        self._free += reports


class DryRun:
    """One upload with `validate_only`. Its reports are compared with the store and with its own earlier reports.

    The dry run releases its capacity when it ends.
    """

    def __init__(self, lab: str, store: UploadStore, budget: DryRunBudget) -> None:
        self._lab = lab
        self._store = store
        self._budget = budget
        self._seen: dict[str, ReportKey] = {}
        # The items of new reports. Reports of the default item, which are nearly all, are left out.
        self._items: dict[str, str] = {}
        self._digests: dict[str, Digest] = {}
        self._offset = 0

    def __enter__(self) -> DryRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._budget.give_back(len(self._seen))
        self._seen, self._items, self._digests = {}, {}, {}

    async def compare(self, batch: ValidatedBatch) -> Acknowledgement:
        """Return the acknowledgement that a commit of the batch would get.

        Raises:
            ResourceExhausted: OVERLOADED, the capacity of all dry runs is used up.
        """
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
        expected = dict(known)
        comparison = compare_reports(expected, others)
        items = {row.report_number: row.item for row in fresh}
        if comparison.revised or comparison.conflicts:
            to_revise = {row.report_number for row, _ in comparison.revised}
            unequal = comparison.conflicting | to_revise
            stored = await self._store.find_stored(self._lab, to_revise, comparison.conflicting)
            # A report that is found here but is not stored came earlier in this dry run, in an earlier batch or in this
            # batch.
            for number in unequal - stored.items.keys():
                stored.items[number] = items.get(number, self._items.get(number, DEFAULT_ITEM))
            stored.contents.update((number, self._digests[number]) for number in unequal & self._digests.keys())
            stored.contents.update(
                (row.report_number, content_of(row)) for row in fresh if row.report_number in unequal
            )
            expected = dict(known)
            comparison = compare_reports(expected, others, stored)
        changed = [*fresh, *(row for row, _ in comparison.revised)]
        # This runs in a thread, because a large batch would block the event loop and delay every call.
        self._digests.update(await asyncio.to_thread(_digests_of, changed))
        self._items |= {number: item for number, item in items.items() if item != DEFAULT_ITEM}
        known = expected
        self._budget.take(len(known.keys() - self._seen.keys()))
        self._seen |= known
        rejections = [*batch.rejections, *removed, *comparison.conflicts]
        rejections.sort(key=lambda rejection: (rejection.tube_index, rejection.person_index))
        self._offset = max(self._offset, batch.offset + len(batch.person_counts))
        return Acknowledgement(
            self._offset,
            len(fresh) + len(comparison.revised),
            comparison.duplicate_count,
            count_rejected(rejections, batch.person_counts),
            rejections,
        )


def _digests_of(rows: Sequence[NewResult]) -> dict[str, Digest]:
    return {row.report_number: digest_of(row) for row in rows}
