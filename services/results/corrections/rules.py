"""Rules of corrections, as pure functions.

A correction supersedes the newest revision and keeps the history. A correction must never make an issued report valid
for longer. A later report time would do so, and so would a later sample time where validity counts from sampling.
"""

from __future__ import annotations

from collections.abc import Sequence

from hutong_texts import english

from services.domain.errors import FailedPrecondition, InvalidArgument, Violation
from services.domain.instant import Instant
from services.results.corrections.model import Correction
from services.results.records.model import (
    ACTIVE,
    FUTURE_TOLERANCE,
    NEGATIVE,
    PENDING,
    POOL_POSITIVE,
    POSITIVE,
    RECALLED,
    StoredResult,
)


def correct(history: Sequence[StoredResult], correction: Correction, now: Instant) -> StoredResult:
    """Return the next revision of a report, given all its revisions so far, oldest first.

    Raises:
        FailedPrecondition: CONFLICT, the report was recalled.
        InvalidArgument: the corrected times are impossible, or would make the report valid for longer.
    """
    newest = history[-1]
    if newest.state == RECALLED:
        raise FailedPrecondition(
            "CONFLICT",
            english("the result was recalled; upload the right one under a new report number"),
            metadata={"use": "UploadResults"},
        )
    report_time = newest.report_time if correction.reissue_time is None else correction.reissue_time
    sample_time = newest.sample_time if correction.sample_time is None else correction.sample_time
    if correction.outcome == PENDING:
        report_time = None
        if any(old.outcome != PENDING for old in history):
            # The upload of a result may follow a sampling record, with any later report time. If a correction made an
            # issued report a sampling record again, such an upload would extend the report's validity.
            text = english("a report that was issued does not become a sampling record again")
            raise InvalidArgument.field("outcome", text, "CONFLICT")
    next_ = newest._replace(
        revision=newest.revision + 1,
        state=ACTIVE,
        outcome=correction.outcome,
        item=newest.item if correction.item is None else correction.item,
        sample_time=sample_time,
        report_time=report_time,
        reference_time=sample_time if report_time is None else report_time,
        upload_time=now,
        national_receive_time=None,
    )
    violations = [*_find_impossible(next_, now), *_find_lengthened(history, next_)]
    if violations:
        raise InvalidArgument.of(violations)
    return next_


def _find_impossible(next_: StoredResult, now: Instant) -> list[Violation]:
    found = []
    if next_.outcome != PENDING and next_.report_time is None:
        text = english("a report needs the time it was issued")
        found.append(Violation("reissue_time", "INVALID_FIELD", text))
    if next_.outcome == POSITIVE and next_.pool_size > 1:
        found.append(Violation("outcome", "POOL_MISMATCH", english("a pool is corrected to POOL_POSITIVE")))
    if next_.outcome == POOL_POSITIVE and next_.pool_size == 1:
        found.append(Violation("outcome", "POOL_MISMATCH", english("a single tube is corrected to POSITIVE")))
    later = [time for time in (next_.receive_time, next_.test_time, next_.report_time) if time is not None]
    if later and next_.sample_time > min(later):
        found.append(
            Violation("sample_time", "TIMES_OUT_OF_ORDER", english("is after the specimen was received or reported"))
        )
    if next_.report_time is not None:
        earlier = [time for time in (next_.receive_time, next_.test_time) if time is not None]
        if earlier and next_.report_time < max(earlier):
            found.append(
                Violation("reissue_time", "TIMES_OUT_OF_ORDER", english("is before the specimen was examined"))
            )
        if next_.report_time > now + FUTURE_TOLERANCE:
            text = english("lies more than 5 minutes ahead of the server's clock")
            found.append(Violation("reissue_time", "TIME_IN_FUTURE", text))
    return found


def _find_lengthened(history: Sequence[StoredResult], next_: StoredResult) -> list[Violation]:
    """Return a violation for each time of `next_` that is later than in any earlier revision with the same outcome."""
    same = [old for old in history if old.outcome == next_.outcome and next_.outcome in (NEGATIVE, PENDING)]
    if not same:
        if next_.outcome in (NEGATIVE, PENDING) and history[0].revision != 1:
            text = english(
                "its first revisions are removed, and it might count for longer than they did; upload a new report"
            )
            return [Violation("outcome", "CONFLICT", text)]
        return []
    found = []
    text = english("would make an issued report valid for longer; a new test needs a report of its own")
    if next_.sample_time > min(old.sample_time for old in same):
        found.append(Violation("sample_time", "CONFLICT", text))
    issued = [old.report_time for old in same if old.report_time is not None]
    if issued and next_.report_time is not None and next_.report_time > min(issued):
        found.append(Violation("reissue_time", "CONFLICT", text))
    return found
