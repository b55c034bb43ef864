"""The check at the start that the Verification of the node above serves this node."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import grpc
import pytest
from hutong.exchange.v1.refusal_exchange_service_pb2_grpc import add_RefusalExchangeServiceServicer_to_server

from services.runtime.configuration.variables import BadSetting
from services.runtime.server.service import Drain, Registration, Service
from services.verification.refusal_exchange.counts import DecisionCountOutbox
from services.verification.refusal_exchange.link import RefusalLink
from services.verification.refusal_exchange.servicer import RefusalExchangeServicer
from services.verification.refusal_exchange.timing import RefusalTiming
from tests.support.databases import MakeUrl
from tests.support.servers import serving, settings_for
from tests.support.verification.refusal_nodes import HENAN, JILIN, NATION, PEPPER, ZHENGZHOU, OneNode, nodes_of
from tests.support.waiting import TIMEOUT_SECONDS

PATIENT = RefusalTiming(upstream_check=TIMEOUT_SECONDS)


def _service(node: OneNode, retired: set[str]) -> Service:
    async def read_retired() -> set[str]:
        return retired

    async def nothing() -> None:
        pass

    name = "hutong.exchange.v1.RefusalExchangeService"
    servicer = RefusalExchangeServicer(node.exchange, node.region, PEPPER, Drain(), PATIENT, read_retired)
    registration = Registration(name, add_RefusalExchangeServiceServicer_to_server, servicer)
    return Service("verification", (registration,), nothing, nothing)


async def test_a_node_in_the_wrong_place_of_the_tree_does_not_start(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """A city does not start below another province, nor below the nation while its province is not retired."""
    retired: set[str] = set()
    with nodes_of((NATION, JILIN, HENAN, ZHENGZHOU), sqlite_url) as (nation, jilin, henan, zhengzhou):
        async with (
            serving(_service(nation, retired), settings_for(tmp_path)) as nation_address,
            serving(_service(jilin, retired), settings_for(tmp_path)) as jilin_address,
        ):

            def link(node: OneNode, address: str) -> RefusalLink:
                channel = partial(grpc.aio.insecure_channel, address)
                counts = DecisionCountOutbox(node.database)
                return RefusalLink(node.exchange, counts, channel, node.region, PEPPER, PATIENT)

            with pytest.raises(BadSetting, match=r"^HUTONG_UPSTREAM_VERIFICATION .* does not lie below nodes/220000"):
                await link(zhengzhou, jilin_address).check_tree()
            await link(henan, nation_address).check_tree()
            with pytest.raises(BadSetting, match=r"^HUTONG_UPSTREAM_VERIFICATION .* nodes/410000 is between"):
                await link(zhengzhou, nation_address).check_tree()
            retired.add(HENAN)
            await link(zhengzhou, nation_address).check_tree()
            assert (await nation.reports.read_links()).below == {ZHENGZHOU}
            await link(henan, nation_address).check_tree()
            assert (await nation.reports.read_links()).below == {HENAN}
            await link(henan, "127.0.0.1:1").check_tree()
