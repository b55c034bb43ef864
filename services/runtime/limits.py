"""Limits that both ends of a call observe."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest message. The value is gRPC's default, set explicitly. A batch of 500 answers is smaller, and an upload
batch has at most 1 MiB."""
SOURCE_SECONDS = 2.0
"""The longest wait for a call to Results or Policy, unless HUTONG_SOURCE_SECONDS sets another time. After this wait the
source counts as not answering. Two seconds are long for a source that works, and short for a person at a gate."""
