"""The private parts of grpcio that the server needs."""

from __future__ import annotations

from services.runtime.server.accepting import can_limit


def test_the_pinned_grpcio_can_be_limited() -> None:
    """With another one, calls would not be limited by lag. Adapt `services.runtime.server.accepting` then."""
    assert can_limit()
