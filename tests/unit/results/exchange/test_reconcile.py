"""Tests how the nation treats revisions whose numbers it knows."""

from __future__ import annotations

import pytest

from services.domain.instant import HOUR
from services.results.exchange.reconcile import Reconciliation, reconcile
from services.results.records.model import ACTIVE, RECALLED, SUPERSEDED, StoredResult
from tests.support.results.factories import NEGATIVE, NOW, PENDING, POSITIVE, REPORTED, USCC, subject_key

FIRST = StoredResult(
    subject_key=subject_key(0),
    reference_time=REPORTED,
    lab=USCC,
    report_number="R0",
    revision=1,
    state=SUPERSEDED,
    masked_name="",
    masked_number="",
    tube_code="T0",
    pool_size=1,
    specimen=2,
    method=1,
    outcome=NEGATIVE,
    sample_region="220502",
    sample_site="site",
    sample_time=REPORTED - HOUR,
    receive_time=None,
    test_time=None,
    report_time=REPORTED,
    item="",
    upload_time=NOW,
    national_receive_time=NOW + 1,
    source_node="220000",
)
POSITIVE_NOW = FIRST._replace(revision=2, state=ACTIVE, outcome=POSITIVE, upload_time=NOW + 10)
HISTORY = [FIRST, POSITIVE_NOW]
LATER = NOW + 20


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        pytest.param(FIRST._replace(national_receive_time=None), Reconciliation.KNOWN, id="the same once more"),
        pytest.param(FIRST._replace(state=ACTIVE), Reconciliation.KNOWN, id="the same before it was superseded"),
        pytest.param(POSITIVE_NOW._replace(revision=1), Reconciliation.KNOWN, id="the same by another number"),
        pytest.param(POSITIVE_NOW._replace(upload_time=LATER), Reconciliation.KNOWN, id="written again as it stands"),
        pytest.param(
            FIRST._replace(state=ACTIVE, upload_time=LATER), Reconciliation.CONFLICTS, id="uploaded again as it was"
        ),
        pytest.param(
            POSITIVE_NOW._replace(state=RECALLED, upload_time=LATER), Reconciliation.SUCCEEDS, id="recalled instead"
        ),
        pytest.param(
            POSITIVE_NOW._replace(state=RECALLED, upload_time=NOW + 9), Reconciliation.CONFLICTS, id="recalled before"
        ),
        pytest.param(
            FIRST._replace(state=ACTIVE, sample_site="elsewhere", upload_time=LATER),
            Reconciliation.SUCCEEDS,
            id="other",
        ),
        pytest.param(
            FIRST._replace(sample_site="elsewhere", upload_time=LATER),
            Reconciliation.CONFLICTS,
            id="other, superseded there",
        ),
        pytest.param(
            FIRST._replace(state=ACTIVE, outcome=PENDING, upload_time=LATER),
            Reconciliation.CONFLICTS,
            id="a sampling record",
        ),
    ],
)
def test_a_revision_with_a_known_number_is_reconciled_by_its_content(
    received: StoredResult, expected: Reconciliation
) -> None:
    """A received revision replaces a stored one only if its node wrote it later and with other content."""
    assert reconcile(received, HISTORY) is expected


def test_one_that_was_overtaken_is_missing() -> None:
    """Writers' changes come in any order."""
    assert reconcile(FIRST, [POSITIVE_NOW]) is Reconciliation.MISSING
    assert reconcile(FIRST, []) is Reconciliation.MISSING
