"""The Verification service's table of request ids, by which it recognises repeated requests."""

from __future__ import annotations

from services.storage.idempotency import request_memory
from services.verification.schema import metadata

requests = request_memory(metadata, "verification")
