"""Serves Verification without access control and audit, for a comparison (`python -m tests.bench.untrusting`).

No setting of the services leaves these out. This program composes the service and its layers itself. Everything else is
the same as in `hutongd serve verification`: the scheduling of threads, garbage collection, mutual TLS, the identity of
callers, the access log and the metrics. Callers get the same answers: names are compared, and a decision is cut to the
caller's view.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import uvloop

from services.command.worker import prepare_process
from services.runtime.call import current_call, trace_fields
from services.runtime.configuration.settings import Settings
from services.runtime.hardening import harden_process
from services.runtime.logs import configure_logs
from services.runtime.server.interceptors.audit import Audit
from services.runtime.server.interceptors.authorization import Authorization, read_rules
from services.runtime.server.interceptors.budgets import Budgets
from services.runtime.server.interceptors.chain import Layer, ordered_layers
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler
from services.runtime.server.process import serve
from services.runtime.server.service import Service
from services.verification.main import open_verification


class Answers:
    """Lets each call be answered as its caller's grant says, without checking the grant."""

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Set the view of the answer, and whether names are compared."""
        return _answered(method, proceed)

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Do the same for a stream."""
        return _answered(method, proceed)


def _answered(method: Method, proceed: Callable[[Any, Context], Any]) -> Callable[[Any, Context], Any]:
    roles = read_rules(method).roles

    def handle(request: Any, context: Context) -> Any:
        call = current_call.get()
        role = None if call is None else roles.get(call.caller.role)
        if call is not None and role is not None:
            call.view, call.needs_name = role.view, role.needs_name
        return proceed(request, context)

    return handle


def other_layers(*parts: Any) -> list[Layer]:
    """Return all layers but those of access control and audit, in their order, and `Answers`.

    Callers are still identified, because Verification names them to Results.
    """
    layers = [layer for layer in ordered_layers(*parts) if not isinstance(layer, Audit | Authorization | Budgets)]
    return [*layers, Answers()]


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
