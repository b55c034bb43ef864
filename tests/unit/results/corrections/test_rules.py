"""Rules of corrections: history stays, and no correction lets an issued report count for longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import FailedPrecondition, InvalidArgument
from services.domain.instant import DAY, HOUR, MINUTE, Instant
from services.results.corrections.model import Correction
from services.results.corrections.rules import correct
from services.results.records.model import ACTIVE, RECALLED, SUPERSEDED, StoredResult
from tests.support.results.factories import NEGATIVE, NOW, PENDING, POOL_POSITIVE, POSITIVE, REPORTED, USCC

SAMPLED = REPORTED - 4 * HOUR
INCONCLUSIVE = 5
ISSUED = [NEGATIVE, POSITIVE, POOL_POSITIVE, INCONCLUSIVE]


def result(
    outcome: int = NEGATIVE,
    *,
    sampled: Instant = SAMPLED,
    reported: Instant | None = REPORTED,
    tested: Instant | None = None,
    revision: int = 1,
    state: int = ACTIVE,
    pool_size: int = 1,
) -> StoredResult:
    """Return one revision of a report. A sampling record has no report time."""
    reported = None if outcome == PENDING else reported
    return StoredResult(
        subject_key=b"k" * 16,
        reference_time=sampled if reported is None else reported,
        lab=USCC,
        report_number="R0",
        revision=revision,
        state=state,  # type: ignore[arg-type]
        masked_name="张*",
        masked_number="22**************11",
        tube_code="T0",
        pool_size=pool_size,
        specimen=2,
        method=1,
        outcome=outcome,  # type: ignore[arg-type]
        sample_region="220502",
        sample_site="",
        sample_time=sampled,
        receive_time=None,
        test_time=tested,
        report_time=reported,
        item="",
        upload_time=reported or sampled,
        national_receive_time=NOW,
        source_node="220000",
    )


def correction_to(outcome: int, sampled: Instant | None = None, reported: Instant | None = None) -> Correction:
    return Correction(USCC, "R0", outcome, sampled, reported, "a slip of the pen")  # type: ignore[arg-type]


def refused(history: Sequence[StoredResult], correction: Correction) -> dict[str, str]:
    """Return field → reason of a correction that is refused."""
    with pytest.raises(InvalidArgument) as caught:
        correct(history, correction, NOW)
    return {violation.field: violation.reason for violation in caught.value.violations}


def test_a_correction_is_the_next_revision_and_nothing_else_changes() -> None:
    """Report time and sample time stay unless the correction sets them, and the new revision has no nationwide time."""
    old = result(POSITIVE)
    new = correct([old], correction_to(NEGATIVE), NOW)
    assert new == old._replace(revision=2, outcome=NEGATIVE, upload_time=NOW, national_receive_time=None)


def test_a_new_report_time_moves_the_reference_time() -> None:
    new = correct([result(POSITIVE)], correction_to(NEGATIVE, SAMPLED - HOUR, REPORTED + HOUR), NOW)
    assert (new.sample_time, new.report_time, new.reference_time) == (SAMPLED - HOUR, REPORTED + HOUR, REPORTED + HOUR)


def test_a_sampling_record_becomes_a_report_when_its_time_is_stated() -> None:
    assert refused([result(PENDING)], correction_to(NEGATIVE)) == {"reissue_time": "INVALID_FIELD"}
    new = correct([result(PENDING)], correction_to(NEGATIVE, None, REPORTED), NOW)
    assert (new.report_time, new.reference_time) == (REPORTED, REPORTED)
    moved = correct([result(PENDING)], correction_to(PENDING, SAMPLED - HOUR), NOW)
    assert (moved.report_time, moved.reference_time) == (None, SAMPLED - HOUR)


@pytest.mark.parametrize("outcome", ISSUED)
def test_an_issued_report_never_becomes_a_sampling_record_again(outcome: int) -> None:
    """If a report became a sampling record again, its result could be uploaded again with a later report time."""
    pool = 5 if outcome == POOL_POSITIVE else 1
    history = [result(outcome, pool_size=pool)]
    assert refused(history, correction_to(PENDING)) == {"outcome": "CONFLICT"}
    after_sampling = [result(PENDING, state=SUPERSEDED), result(outcome, pool_size=pool, revision=2)]
    assert refused(after_sampling, correction_to(PENDING)) == {"outcome": "CONFLICT"}


def test_a_correction_mends_the_item_and_keeps_the_report_time() -> None:
    """Without an item it stays. A report time later than a negative revision's is refused for a new item too."""
    mended = correct([result()], replace(correction_to(NEGATIVE), item="sars-cov-2-antigen"), NOW)
    assert (mended.item, mended.report_time) == ("sars-cov-2-antigen", REPORTED)
    history = [result(state=SUPERSEDED), mended]
    assert correct(history, correction_to(NEGATIVE), NOW).item == "sars-cov-2-antigen"
    assert correct(history, replace(correction_to(NEGATIVE), item=""), NOW).item == ""
    later = replace(correction_to(NEGATIVE, None, REPORTED + 1), item="")
    assert refused(history, later) == {"reissue_time": "CONFLICT"}


def test_a_recalled_report_stays_recalled() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        correct([result(state=SUPERSEDED), result(state=RECALLED, revision=2)], correction_to(NEGATIVE), NOW)
    assert (caught.value.reason, caught.value.metadata) == ("CONFLICT", {"use": "UploadResults"})


@pytest.mark.parametrize(
    ("history", "correction", "faults"),
    [
        ([result()], correction_to(NEGATIVE, None, REPORTED + 1), {"reissue_time": "CONFLICT"}),
        ([result()], correction_to(NEGATIVE, SAMPLED + 1), {"sample_time": "CONFLICT"}),
        ([result(PENDING)], correction_to(PENDING, SAMPLED + 1), {"sample_time": "CONFLICT"}),
        (
            [result(state=SUPERSEDED), result(POSITIVE, revision=2)],
            correction_to(NEGATIVE, None, REPORTED + HOUR),
            {"reissue_time": "CONFLICT"},
        ),
        (
            [result(state=SUPERSEDED), result(reported=REPORTED - HOUR, revision=2)],
            correction_to(NEGATIVE, None, REPORTED),
            {"reissue_time": "CONFLICT"},
        ),
        (
            [result()],
            correction_to(NEGATIVE, SAMPLED + 1, REPORTED + 1),
            {"sample_time": "CONFLICT", "reissue_time": "CONFLICT"},
        ),
        ([result(pool_size=5)], correction_to(POSITIVE), {"outcome": "POOL_MISMATCH"}),
        ([result()], correction_to(POOL_POSITIVE), {"outcome": "POOL_MISMATCH"}),
        ([result(POSITIVE)], correction_to(NEGATIVE, REPORTED + 1), {"sample_time": "TIMES_OUT_OF_ORDER"}),
        (
            [result(POSITIVE, tested=REPORTED - HOUR)],
            correction_to(NEGATIVE, None, REPORTED - 2 * HOUR),
            {"reissue_time": "TIMES_OUT_OF_ORDER"},
        ),
        ([result(POSITIVE)], correction_to(NEGATIVE, None, NOW + 6 * MINUTE), {"reissue_time": "TIME_IN_FUTURE"}),
    ],
)
def test_what_cannot_be_or_would_count_for_longer_is_refused(
    history: list[StoredResult], correction: Correction, faults: dict[str, str]
) -> None:
    """The error lists all faults, each at its field."""
    assert refused(history, correction) == faults


def test_what_counts_for_as_long_or_shorter_is_accepted() -> None:
    """A later report time is accepted for an outcome that never counted."""
    for correction in (
        correction_to(NEGATIVE, SAMPLED, REPORTED),
        correction_to(NEGATIVE, SAMPLED - DAY, REPORTED - HOUR),
    ):
        assert correct([result()], correction, NOW).revision == 2
    for outcome in (POSITIVE, INCONCLUSIVE):
        assert correct([result(outcome)], correction_to(NEGATIVE, None, NOW), NOW).report_time == NOW


steps = st.lists(
    st.builds(
        correction_to,
        st.sampled_from([PENDING, NEGATIVE, POSITIVE, INCONCLUSIVE]),
        st.none() | st.integers(-3, 3).map(lambda hours: SAMPLED + hours * HOUR),
        st.none() | st.integers(-3, 3).map(lambda hours: REPORTED + hours * HOUR),
    ),
    max_size=12,
)


@given(st.sampled_from([PENDING, NEGATIVE, POSITIVE, INCONCLUSIVE]), steps)
def test_no_sequence_of_corrections_lets_a_negative_count_for_longer(
    outcome: int, corrections: list[Correction]
) -> None:
    """No correction moves a negative's report time or sample time later. An issued report stays issued."""
    history = [result(outcome)]
    for correction in corrections:
        try:
            new = correct(history, correction, NOW)
        except InvalidArgument:
            continue
        for old in history:
            if old.outcome != PENDING:
                assert new.outcome != PENDING
            if old.outcome == new.outcome == NEGATIVE:
                assert (new.report_time or 0) <= (old.report_time or 0)
                assert new.sample_time <= old.sample_time
            if old.outcome == new.outcome == PENDING:
                assert new.sample_time <= old.sample_time
        assert new.revision == len(history) + 1
        history.append(new)


def test_a_report_with_removed_first_revisions_does_not_become_negative_again() -> None:
    """Retention has removed its negative revision, so the new one's times cannot be compared."""
    kept = [result(POSITIVE, revision=2)]
    assert refused(kept, correction_to(NEGATIVE)) == {"outcome": "CONFLICT"}
    assert correct([result(POSITIVE)], correction_to(NEGATIVE), NOW).outcome == NEGATIVE
    assert correct(kept, correction_to(INCONCLUSIVE), NOW).outcome == INCONCLUSIVE
