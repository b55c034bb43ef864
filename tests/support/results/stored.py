"""Makes stored results of one subject, for look-ups to choose from and to merge."""

from __future__ import annotations

from services.results.records.model import ACTIVE, StoredResult
from tests.support.results.factories import NEGATIVE, PENDING, POOL_POSITIVE

PROVINCE = "410000"

REVOKED = "91220502MA000LAB8G"


def may_report(result: StoredResult) -> bool:
    """Return True for every laboratory except the revoked one."""
    return result.lab != REVOKED


def stored(
    number: int,
    outcome: int = NEGATIVE,
    *,
    region: str = "410105",
    sampled: int | None = None,
    state: int = ACTIVE,
    lab: str = "91220501MA0HUTNG0T",
    item: str = "",
) -> StoredResult:
    """Return a result of the subject. Its report number, and its times in tens of microseconds, are `number`."""
    return StoredResult(
        subject_key=b"k" * 16,
        reference_time=number * 10,
        lab=lab,
        report_number=f"R{number}",
        revision=1,
        state=state,  # type: ignore[arg-type] # the contract's numbers
        masked_name="",
        masked_number="",
        tube_code="T",
        pool_size=10 if outcome == POOL_POSITIVE else 1,
        specimen=0,
        method=0,
        outcome=outcome,  # type: ignore[arg-type]
        sample_region=region,
        sample_site="",
        sample_time=number * 10 - 4 if sampled is None else sampled,
        receive_time=None,
        test_time=None,
        report_time=None if outcome == PENDING else number * 10,
        item=item,
        upload_time=number * 10,
        national_receive_time=None,
        source_node="410000",
    )
