"""The Results service's memory of request ids."""

from __future__ import annotations

from services.results.schema import metadata
from services.storage.idempotency import request_memory

requests = request_memory(metadata, "results")
