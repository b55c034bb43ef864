"""The Results service's table of request ids, by which it recognises repeated requests."""

from __future__ import annotations

from services.results.schema import metadata
from services.storage.idempotency import request_memory

requests = request_memory(metadata, "results")
