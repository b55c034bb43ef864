"""Fetches those heads of this node's audits that the node above keeps."""

from __future__ import annotations

import asyncio

import grpc
from hutong.audit.v1.audit_head_pb2 import AuditHead
from hutong.exchange.v1.exchange_service_pb2 import ListAuditHeadsRequest
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from hutong_texts import english

from services.audit.model import LoggedHead
from services.domain.errors import Unavailable
from services.domain.names import format_node
from services.runtime.client.channels import open_channel
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting

PAGE = 500
"""Heads in one page. The contract allows no more."""
ANSWER_SECONDS = 20.0
"""How long the node above may take for one page, in seconds."""


def fetch_held_heads(settings: Settings) -> list[tuple[str, LoggedHead]]:
    """Return the heads that the node above keeps, each with the name of its service.

    Raises:
        BadSetting: the node has no node above it.
        Unavailable: UPSTREAM_UNAVAILABLE, the node above does not answer.
    """
    if not settings.upstream:
        raise BadSetting(
            english("HUTONG_UPSTREAM is not set, so no node above holds heads of this node: leave out --upstream")
        )
    try:
        return [(head.service, _to_logged(head)) for head in asyncio.run(_fetch(settings))]
    except grpc.aio.AioRpcError as error:
        raise Unavailable(
            "UPSTREAM_UNAVAILABLE", english("the node above answered {name}", name=error.code().name)
        ) from None


async def _fetch(settings: Settings) -> list[AuditHead]:
    request = ListAuditHeadsRequest(node=format_node(settings.jurisdiction), page_size=PAGE)
    heads: list[AuditHead] = []
    async with open_channel(settings.upstream, settings) as channel:
        stub = ExchangeServiceStub(channel)
        while True:
            page = await stub.ListAuditHeads(request, timeout=ANSWER_SECONDS)
            heads += [held.audit_head for held in page.audit_heads]
            if not page.next_page_token:
                return heads
            request.page_token = page.next_page_token


def _to_logged(head: AuditHead) -> LoggedHead:
    return LoggedHead(int(head.chain), head.number, head.head.hex(), english("at the node above"))
