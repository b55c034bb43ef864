"""Serves Verification without access control and audit, for a comparison (`python -m tests.bench.untrusting`).

No setting of the services leaves these out. This program composes the service and its layers itself. Everything else is
the same as in `hutongd serve verification`: the scheduling of threads, garbage collection, mutual TLS, the identity of
callers, the access log and the metrics. The rule of names goes with access control: without grants no caller needs a
name, so that Results compares none.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import uvloop

from services.command.worker import prepare_process
from services.runtime.call import trace_fields
from services.runtime.configuration.settings import Settings
from services.runtime.hardening import harden_process
from services.runtime.logs import configure_logs
from services.runtime.server.interceptors.audit import Audit
from services.runtime.server.interceptors.authorization import Authorization
from services.runtime.server.interceptors.budgets import Budgets
from services.runtime.server.interceptors.chain import Layer, ordered_layers
from services.runtime.server.process import serve
from services.runtime.server.service import Service
from services.verification.main import open_verification


def other_layers(*parts: Any) -> list[Layer]:
    """Return all layers but those of access control and audit, in their order.

    Callers are still identified, because Verification names them to Results.
    """
    return [layer for layer in ordered_layers(*parts) if not isinstance(layer, Audit | Authorization | Budgets)]


async def open_without_audit(settings: Settings) -> Service:
    """Open Verification without an audit."""
    return replace(await open_verification(settings), audit=None)


def main() -> None:
    """Serve until SIGTERM, as `hutongd serve verification` does."""
    settings = Settings.from_environment(os.environ)
    configure_logs(settings.log_level, more=trace_fields)
    harden_process()
    prepare_process(["verification"])
    uvloop.run(serve([open_without_audit], settings, arrange=other_layers))


if __name__ == "__main__":
    main()
