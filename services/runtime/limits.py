"""Limits for both ends of a call."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""gRPC's default, set explicitly. A batch of 500 answers stays under it; an upload batch has at most 1 MiB."""
