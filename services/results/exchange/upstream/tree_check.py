"""The check at start that the Results of the node above serves this node."""

from __future__ import annotations

import grpc
from hutong.exchange.v1.exchange_service_pb2 import AdmitNodeRequest
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub

from services.domain.names import format_node
from services.runtime.client.reconnecting import OpenChannel
from services.runtime.server import tree_check


async def check_tree(open_channel: OpenChannel, region: str, seconds: float) -> None:
    """Ask the node above whether it serves the node of `region`.

    If no answer comes within `seconds`, no error is raised.

    Raises:
        BadSetting: the node above does not serve this node.
    """

    async def ask(channel: grpc.aio.Channel) -> None:
        await ExchangeServiceStub(channel).AdmitNode(AdmitNodeRequest(node=format_node(region)))

    await tree_check.check_tree(ask, open_channel, "HUTONG_UPSTREAM", region, seconds)
