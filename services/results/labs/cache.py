"""A short memory of laboratories for the paths that ask for their standing all the time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from services.domain.instant import SECOND, Instant, Span
from services.results.labs.model import STANDING_UNKNOWN, Lab
from services.results.labs.queries import find_labs

if TYPE_CHECKING:
    from services.results.labs.model import Standing

KEPT_FOR: Span = SECOND
"""How long a laboratory's standing is remembered: how late a change made by another process may take effect here."""


class LabCache:
    """Laboratories by code, read again when they are older than `KEPT_FOR`. Used from the database's threads."""

    def __init__(self) -> None:
        self._labs: dict[str, tuple[Instant, Lab]] = {}

    def refresh(self, connection: Connection, usccs: Iterable[str], now: Instant) -> None:
        """Make sure that these laboratories are known as they stood within the last `KEPT_FOR`."""
        stale = [uscc for uscc in set(usccs) if uscc not in self._labs or now - self._labs[uscc][0] >= KEPT_FOR]
        if not stale:
            return
        found = find_labs(connection, stale)
        for uscc in stale:
            # One that is not registered is not remembered: callers could name any number of them.
            if uscc in found:
                self._labs[uscc] = (now, found[uscc])
            else:
                self._labs.pop(uscc, None)

    def forget(self, uscc: str) -> None:
        """Read this laboratory again when it is next asked for."""
        self._labs.pop(uscc, None)

    def get(self, uscc: str) -> Lab | None:
        """The laboratory as last read; None when it is not registered or was not refreshed."""
        known = self._labs.get(uscc)
        return known[1] if known else None

    def standing_at(self, uscc: str, instant: Instant) -> Standing:
        """Its standing at an instant; unknown for a laboratory that is not registered here."""
        lab = self.get(uscc)
        return STANDING_UNKNOWN if lab is None else lab.standing_at(instant)

    def region_of(self, uscc: str) -> str:
        """Its region; empty for a laboratory that is not registered here."""
        lab = self.get(uscc)
        return "" if lab is None else lab.region
