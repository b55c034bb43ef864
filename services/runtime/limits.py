"""Limits that both ends of a call keep to."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""gRPC's own default, stated: a batch of 500 answers stays under it, an upload batch is held to 1 MiB."""
