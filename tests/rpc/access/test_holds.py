"""Legal holds belong to the region of the supervisor that put them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from google.type.interval_pb2 import Interval
from hutong.results.v1.legal_hold_service_pb2 import (
    CreateLegalHoldRequest,
    LiftLegalHoldRequest,
    ListHeldResultsRequest,
    ListLegalHoldsRequest,
)
from hutong.results.v1.legal_hold_service_pb2_grpc import LegalHoldServiceStub

from services.domain.instant import to_timestamp
from tests.support.access.guarded import CASE, OTHER_LAB, REGION, Guarded, open_guarded
from tests.support.databases import SqliteDatabases
from tests.support.errors import error_info
from tests.support.results.factories import LAB_NAME, NOW, make_document

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROVINCE, CITY, NATION = f"supervisors/{REGION}/li", "supervisors/220500/wu", "supervisors/000000"
SINCE = Interval(start_time=to_timestamp(NOW))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, sqlite_databases: SqliteDatabases
) -> AsyncIterator[Guarded]:
    async with open_guarded(tmp_path_factory.mktemp("guarded"), sqlite_databases.make) as opened:
        yield opened


async def holds_of(guarded: Guarded, caller: str) -> LegalHoldServiceStub:
    return LegalHoldServiceStub(await guarded.channel("results", caller))


async def listed(guarded: Guarded, caller: str, region: str = "") -> set[str]:
    answer = await (await holds_of(guarded, caller)).ListLegalHolds(ListLegalHoldsRequest(region=region))
    return {hold.name for hold in answer.legal_holds}


async def test_a_hold_is_seen_and_lifted_in_its_own_region_alone(guarded: Guarded) -> None:
    """A supervisor of a part of the region cannot lift the hold. A supervisor of the nation can."""
    city, province = await holds_of(guarded, CITY), await holds_of(guarded, PROVINCE)
    request = CreateLegalHoldRequest(document=make_document(30), reason="forged")
    of_city = (await city.CreateLegalHold(request, metadata=(CASE,))).legal_hold.name
    of_province = guarded.holds["own"]
    assert await listed(guarded, CITY) == {of_city}
    assert await listed(guarded, PROVINCE) == {of_city, of_province}
    assert await listed(guarded, NATION) == {of_city, of_province, guarded.holds["other"]}
    assert await listed(guarded, NATION, "410000") == {guarded.holds["other"]}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await listed(guarded, CITY, REGION)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    for caller, name in ((city, of_province), (province, guarded.holds["other"])):
        for call in (
            caller.LiftLegalHold(LiftLegalHoldRequest(name=name, reason="x"), metadata=(CASE,)),
            caller.ListHeldResults(ListHeldResultsRequest(name=name), metadata=(CASE,)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert error_info(refused.value).reason == "NOT_FOUND"
    lifted = await province.LiftLegalHold(LiftLegalHoldRequest(name=of_city, reason="closed"), metadata=(CASE,))
    assert lifted.legal_hold.lift_actor == PROVINCE
    assert await listed(guarded, CITY) == set()


async def test_a_hold_is_about_a_person_or_an_own_laboratory(guarded: Guarded) -> None:
    """A province may hold results of any named person and of its own laboratories. The nation may hold all results.

    If a province could hold more, its supervisor could keep, and later list, the results of all laboratories of another
    province.
    """
    province, nation = await holds_of(guarded, PROVINCE), await holds_of(guarded, NATION)
    for request, code in (
        (CreateLegalHoldRequest(lab=OTHER_LAB, reason="r"), grpc.StatusCode.PERMISSION_DENIED),
        (CreateLegalHoldRequest(report_interval=SINCE, reason="r"), grpc.StatusCode.PERMISSION_DENIED),
        (CreateLegalHoldRequest(lab=LAB_NAME, report_interval=SINCE, reason="r"), None),
        (CreateLegalHoldRequest(lab=OTHER_LAB, document=make_document(31), reason="r"), None),
    ):
        if code is None:
            assert (await province.CreateLegalHold(request, metadata=(CASE,))).legal_hold.actor == PROVINCE
            continue
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await province.CreateLegalHold(request, metadata=(CASE,))
        assert refused.value.code() is code
    everywhere = CreateLegalHoldRequest(report_interval=SINCE, reason="an outbreak")
    assert (await nation.CreateLegalHold(everywhere, metadata=(CASE,))).legal_hold.actor == NATION
