"""Unregistered laboratories use no memory, whether look-ups or uploads name them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hutong.results.v1.upload_pb2 import UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest
from stdnum.cn import uscc

from services.domain.errors import FailedPrecondition
from services.results.upload.dry_run import DryRunBudget
from services.results.upload.quotas import Limits, Quotas
from services.results.upload.stream import UploadReceiver
from services.results.upload.workers import ValidationPool, WorkerContext
from services.runtime.server.service import Drain
from tests.support.databases import MakeUrl
from tests.support.results.factories import NOW, PEPPER, subject_key
from tests.support.results.store import Laboratory, open_laboratory


@pytest.fixture
async def laboratory(sqlite_url: MakeUrl) -> AsyncIterator[Laboratory]:
    async with open_laboratory(sqlite_url("results")) as opened:
        yield opened


def codes(count: int) -> list[str]:
    """Return valid codes of unregistered laboratories."""
    stems = [f"91220{index:03}MA0HUTNG0" for index in range(count)]
    return [f"{stem}{uscc.calc_check_digit(stem)}" for stem in stems]


async def test_claims_of_unregistered_laboratories_are_not_remembered(laboratory: Laboratory) -> None:
    """Callers could name any number of them."""
    await laboratory.stores.lookup.find_subjects([subject_key(0)], [(code, "R") for code in codes(40)], NOW)
    assert len(laboratory.stores.lab_cache) == 0


async def test_uploads_of_unregistered_laboratories_are_not_counted(laboratory: Laboratory) -> None:
    """Quotas exist only for registered laboratories."""
    quotas = Quotas(Limits(8, 50_000, 500_000), laboratory.clock)
    pool = ValidationPool(WorkerContext(PEPPER.secret, PEPPER.version, "sqlite"), 0)
    stores = laboratory.stores
    receiver = UploadReceiver(
        stores.uploads,
        stores.labs,
        "220000",
        laboratory.clock,
        pool,
        quotas,
        Drain(),
        PEPPER,
        DryRunBudget(10),
        start_seconds=5.0,
    )

    async def frames(code: str) -> AsyncIterator[UploadResultsRequest]:
        yield UploadResultsRequest(start=UploadStart(lab=f"labs/{code}", upload_id="u"))

    for code in codes(5):
        with pytest.raises(FailedPrecondition) as caught:
            await anext(receiver.receive(frames(code)))
        assert caught.value.reason == "LAB_UNKNOWN"
    assert len(quotas) == 0
    pool.close()
