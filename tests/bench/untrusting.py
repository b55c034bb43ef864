"""Serves Verification without access control and audit, for a comparison (`python -m tests.bench.untrusting`).

No setting of the services leaves these out. This program composes the service and its layers itself. Mutual TLS, the
identity of callers, the access log and the metrics are the same. The rule of names goes with access control: without
grants no caller needs a name, so that Results compares none.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from typing import Any

import uvloop

from services.runtime.configuration.settings import Settings
from services.runtime.logs import configure_logs
from services.runtime.server.interceptors.audit import Audit
from services.runtime.server.interceptors.authorization import Authorization
from services.runtime.server.interceptors.budgets import Budgets
from services.runtime.server.interceptors.chain import Layer, ordered_layers
from services.runtime.server.server import start
from services.runtime.tuning import freeze_heap, use_batch_scheduling
from services.verification.main import open_verification


def other_layers(*parts: Any) -> list[Layer]:
    """Return all layers but those of access control and audit, in their order.

    Callers are still identified, because Verification names them to Results.
    """
    return [layer for layer in ordered_layers(*parts) if not isinstance(layer, Audit | Authorization | Budgets)]


async def serve_until_stopped(settings: Settings) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    service = replace(await open_verification(settings), audit=None)
    server = await start(service, settings.verification.address, settings, arrange=other_layers)
    freeze_heap()
    await stop.wait()
    await server.stop(1.0)


if __name__ == "__main__":
    own = Settings.from_environment(os.environ)
    configure_logs(own.log_level)
    use_batch_scheduling()
    uvloop.run(serve_until_stopped(own))
