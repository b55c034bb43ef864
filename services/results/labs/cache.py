"""A cache of laboratories. Every look-up and every upload needs the standing of laboratories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from services.domain.instant import SECOND, Instant, Span
from services.results.labs.copies import find_known
from services.results.labs.model import STANDING_UNKNOWN, Lab

if TYPE_CHECKING:
    from services.results.labs.model import SigningKey, Standing

KEPT_FOR: Span = SECOND
"""How long a laboratory is cached. If another process changes a laboratory, this process uses the old state for at most
this long."""


class LabCache:
    """Laboratories by code. An entry is read again once it is older than `KEPT_FOR`.

    Threads of the database use the cache.
    """

    def __init__(self) -> None:
        self._labs: dict[str, tuple[Instant, Lab]] = {}

    def __len__(self) -> int:
        """Return how many laboratories are cached."""
        return len(self._labs)

    def refresh(self, connection: Connection, usccs: Iterable[str], now: Instant) -> None:
        """Read the laboratories that are not cached, and those that were read longer than `KEPT_FOR` ago."""
        stale = [uscc for uscc in set(usccs) if uscc not in self._labs or now - self._labs[uscc][0] >= KEPT_FOR]
        if not stale:
            return
        found = find_known(connection, stale)
        for uscc in stale:
            # Unknown laboratories are not cached, because the number of codes that callers can invent is unlimited.
            if uscc in found:
                self._labs[uscc] = (now, found[uscc])
            else:
                self._labs.pop(uscc, None)

    def forget(self, uscc: str) -> None:
        """Remove a laboratory from the cache, so that the next refresh reads it."""
        self._labs.pop(uscc, None)

    def get(self, uscc: str) -> Lab | None:
        """Return the laboratory as last read; None if it was not refreshed or is not known."""
        cached = self._labs.get(uscc)
        return cached[1] if cached else None

    def standing_at(self, uscc: str, instant: Instant) -> Standing:
        """Return a laboratory's standing at an instant, STANDING_UNKNOWN if it is not known here."""
        lab = self.get(uscc)
        return STANDING_UNKNOWN if lab is None else lab.standing_at(instant)

    def signing_keys_of(self, uscc: str) -> tuple[SigningKey, ...]:
        """Return the keys with which a laboratory signs reports; none if it is not registered here."""
        lab = self.get(uscc)
        return () if lab is None else lab.signing_keys

    def region_of(self, uscc: str) -> str:
        """Return a laboratory's region, empty if it is not known here."""
        lab = self.get(uscc)
        return "" if lab is None else lab.region
