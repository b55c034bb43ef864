"""The check at start that the node above serves this node."""

from __future__ import annotations

import asyncio

import grpc
import structlog
from hutong.exchange.v1.exchange_service_pb2 import AdmitNodeRequest
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from hutong_texts import english

from services.domain.names import format_node
from services.runtime.client.reconnecting import OpenChannel
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.status import error_info

_log = structlog.get_logger(__name__)


async def check_tree(open_channel: OpenChannel, region: str, seconds: float) -> None:
    """Ask the node above whether it serves the node of `region`.

    If no answer comes within `seconds`, no error is raised.

    Raises:
        BadSetting: the node above does not serve this node.
    """
    try:
        async with asyncio.timeout(seconds), open_channel() as channel:
            await ExchangeServiceStub(channel).AdmitNode(AdmitNodeRequest(node=format_node(region)))
    except TimeoutError:
        _log.warning("the node above does not answer; the start goes on without it", why="DEADLINE")
    except grpc.aio.AioRpcError as error:
        if error_info(error).reason == "NOT_AN_UPSTREAM":
            raise BadSetting(
                english(
                    "HUTONG_UPSTREAM does not serve {node}: {cause}; give the address of the deepest node that covers "
                    "the region",
                    node=format_node(region),
                    cause=error.details(),
                )
            ) from None
        _log.warning("the node above does not answer; the start goes on without it", why=error.code().name)
