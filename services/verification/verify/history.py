"""Finds the items for which a limit or retention may hide a result that counted at the use time."""

from __future__ import annotations

from collections import defaultdict

from services.domain.instant import Instant
from services.verification.decision.items import item_rules
from services.verification.decision.model import NATIONAL_RESULTS, NEGATIVE, Record, Requirement, SourceStatus
from services.verification.decision.window import last_expiry
from services.verification.sources.lookup_answer import LookupAnswer
from services.verification.sources.model import PolicyAnswer
from services.verification.verify.questions.question import Question


def find_cut_items(question: Question, results: LookupAnswer | None, policy: PolicyAnswer | None) -> tuple[str, ...]:
    """Return the items for which the look-up's answer may lack a result that counted at the use time."""
    if results is None:
        return ()
    found: set[str] = set()
    use_time, limit = question.policy.use_time, question.look_up.limit
    if use_time < question.evaluate_time and len(results.records) >= limit:
        found |= _cut_by_limit(use_time, limit, results)
    horizon = _nations_horizon(results.sources)
    if horizon is not None and policy is not None:
        for effective in policy.by_origin:
            if effective.required is not None:
                found |= _cut_by_retention(use_time, horizon, effective.required)
    return tuple(sorted(found)) if found else ()


def _nations_horizon(sources: tuple[SourceStatus, ...]) -> Instant | None:
    """Return the instant before which the nation has removed results.

    Only the nation answers for the results of all nodes.
    """
    for source in sources:
        if source.retention_start_time is not None and source.source == NATIONAL_RESULTS:
            return source.retention_start_time
    return None


def _cut_by_limit(use_time: Instant, limit: int, results: LookupAnswer) -> set[str]:
    """Return the items for which the look-up's limit may have left out a result that counted at a past use time.

    Results of each item come newest first, separately from inside and outside the region. If one side of an item has as
    many results as the limit, and all negatives among them were issued after the use time, an older negative may have
    been left out.
    """
    sides: defaultdict[tuple[str, bool], list[Record]] = defaultdict(list)
    for index, record in enumerate(results.records):
        sides[record.item, index < results.in_region_count].append(record)
    return {
        item
        for (item, _), side in sides.items()
        if len(side) >= limit and not any(_is_negative_by(record, use_time) for record in side)
    }


def _is_negative_by(record: Record, instant: Instant) -> bool:
    return record.outcome == NEGATIVE and record.report_time is not None and record.report_time <= instant


def _cut_by_retention(use_time: Instant, horizon: Instant, required: Requirement) -> set[str]:
    """Return the accepted items for which a result from before the horizon could count at the use time."""
    newest = min(horizon - 1, use_time)
    proof = required.sampling_proof_window
    if proof is not None and use_time < newest + proof:
        return set(item_rules(required).accepted)
    return {
        item
        for item, window in item_rules(required).accepted.items()
        if last_expiry(window or required.window, required.shortest_windows, newest).is_after(use_time)
    }
