"""The check at start that a service of the node above serves this node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import structlog
from hutong_texts import english

from services.domain.errors import HutongError
from services.domain.names import format_node
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.status import error_info

_log = structlog.get_logger(__name__)


async def check_tree(
    ask: Callable[[grpc.aio.Channel], Awaitable[object]],
    open_channel: Callable[[], grpc.aio.Channel],
    setting: str,
    region: str,
    seconds: float,
) -> None:
    """Ask a service of the node above whether it serves the node of `region`.

    If no answer comes within `seconds`, or the question cannot be asked, no error is raised.

    Args:
        ask: makes the call on a channel, which is then closed.
        open_channel: opens a channel to the service.
        setting: the name of the setting that has the address of the service.
        region: the region of this node.
        seconds: the longest wait for the answer.

    Raises:
        BadSetting: the node above does not serve this node.
    """
    try:
        async with asyncio.timeout(seconds), open_channel() as channel:
            await ask(channel)
    except TimeoutError:
        _note_missing_answer(setting, "DEADLINE")
    except HutongError as error:
        _note_missing_answer(setting, error.reason)
    except grpc.aio.AioRpcError as error:
        if error_info(error).reason == "NOT_AN_UPSTREAM":
            raise BadSetting(
                english(
                    "{setting} does not serve {node}: {cause}; give the address of the deepest node that covers the "
                    "region",
                    setting=setting,
                    node=format_node(region),
                    cause=error.details(),
                )
            ) from None
        _note_missing_answer(setting, error.code().name)


def _note_missing_answer(setting: str, why: str) -> None:
    _log.warning("it is not known whether the node above serves this node; the start goes on", setting=setting, why=why)
