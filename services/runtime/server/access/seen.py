"""A set of persons that takes four bytes for each slot and contains no personal data."""

from __future__ import annotations

from array import array

_FIRST_SLOTS = 64
_MARK_BITS = 0xFFFF_FFFF


class SeenPersons:
    """Counts distinct persons by 32 bits of a hash. The table has at least twice as many slots as persons.

    Of four billion pairs of persons, one pair has the same 32 bits. 3,000 persons take 32 KiB.
    """

    __slots__ = ("_slots", "count")

    def __init__(self) -> None:
        self.count = 0
        self._slots = array("I", bytes(4 * _FIRST_SLOTS))

    def __contains__(self, person: int) -> bool:
        slots = self._slots
        mark = person & _MARK_BITS or 1
        # This repeats the first step of `_find`, because every question about a person passes here and most persons are
        # found in their first slot.
        found = slots[mark & (len(slots) - 1)]
        return found == mark or (found != 0 and slots[self._find(mark)] != 0)

    def add(self, person: int) -> None:
        """Add a person by its hash."""
        mark = person & _MARK_BITS or 1
        slot = self._find(mark)
        if self._slots[slot]:
            return
        self._slots[slot] = mark
        self.count += 1
        if self.count * 2 > len(self._slots):
            self._grow()

    def _find(self, mark: int) -> int:
        """Return the slot of a mark, or the free slot in which it belongs. A free slot holds 0."""
        slots = self._slots
        last = len(slots) - 1
        slot = mark & last
        while (found := slots[slot]) and found != mark:
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        marks = self._slots
        self._slots = array("I", bytes(8 * len(marks)))
        for mark in marks:
            if mark:
                self._slots[self._find(mark)] = mark
