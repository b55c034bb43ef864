"""Tests of packs: what is packed comes back, and no part of a pack can change without its digest."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from services.audit.packs import MOST_EVENTS, chain_pack, pack_events, split_events, unpack_events
from services.runtime.audit import AuditEvent

TEXT = st.text(st.characters(exclude_categories=["C"]), max_size=12)
FEW = st.sampled_from(["", "gates/410100/7", "gates/410105/1"])
NUMBER = st.integers(0, 2**40)
TIME = st.sampled_from([0, 60_000_000, 120_000_000])
EVENTS = st.builds(
    AuditEvent,
    *(st.sampled_from([1, 3]), TIME, TEXT, FEW, FEW, FEW, TEXT, FEW, st.integers(0, 9), FEW, TEXT),
    *(st.none() | st.binary(min_size=16, max_size=16).filter(any), st.integers(0, 16), FEW, NUMBER),
)


@given(st.lists(EVENTS, min_size=1, max_size=9), st.integers(1, 10**12))
def test_packed_events_come_back(events: list[AuditEvent], first: int) -> None:
    """Events come back with their numbers, each once. Events of one minute are together and in order."""
    found, sequence = [], first
    for together in split_events(events):
        pack = pack_events(7, sequence, together)
        unpacked = unpack_events(pack)
        assert [event.sequence for event in unpacked] == list(range(sequence, pack.last_sequence + 1))
        assert {event.time for event in unpacked} == {pack.time}
        assert pack.has_denials == any(event.kind == 3 for event in unpacked)
        found += [AuditEvent._make(event[2:]) for event in unpacked]
        sequence = pack.last_sequence + 1
    assert found == sorted(events, key=lambda event: event.time)


@given(st.lists(EVENTS, min_size=2, max_size=5), st.data())
def test_no_event_of_a_pack_can_change_without_its_digest(events: list[AuditEvent], data: st.DataObject) -> None:
    """No event can be removed, or exchanged with a different one, without changing the digest."""
    events = [event._replace(time=0) for event in events]
    digest = chain_pack(b"", pack_events(1, 1, events))
    place = data.draw(st.integers(0, len(events) - 1))
    field = data.draw(st.sampled_from(AuditEvent._fields))
    value = getattr(events[place], field)
    if isinstance(value, int):
        other: int | str | bytes = value + 1
    else:
        other = f"{value}1" if isinstance(value, str) else bytes([(value or b"0")[0] ^ 1]) * 16
    changed = events[place]._replace(**{field: other})
    # The events of a pack have one time, which is stored once.
    alike = [event._replace(time=changed.time) for event in events]
    for forged in (
        [*alike[:place], changed, *alike[place + 1 :]],
        [*events[:place], *events[place + 1 :]],
        *([events[::-1]] if events[::-1] != events else []),
    ):
        assert chain_pack(b"", pack_events(1, 1, forged)) != digest
    assert chain_pack(b"x", pack_events(1, 1, events)) != digest
    assert chain_pack(b"", pack_events(2, 1, events)) != digest


def test_what_events_have_in_common_is_stored_once() -> None:
    """500 reads of one call take little more than their tags."""
    event = AuditEvent(1, 0, "i" * 32, "gate", "gates/410100/7", "", "ipv4:1", "s/M", 3, "410105", "", b"t", 0, "R", 1)
    pack = pack_events(1, 1, [event._replace(subject_tag=bytes([1, n % 256]) * 8) for n in range(500)])
    assert len(pack.events) < 300
    assert len(pack.tags) == 500 * 16


def test_a_pack_has_a_largest_size() -> None:
    event = AuditEvent(1, 0, "", "", "", "", "", "", 0, "", "", None, 0, "", 1)
    assert [len(some) for some in split_events([event] * (2 * MOST_EVENTS + 1))] == [MOST_EVENTS, MOST_EVENTS, 1]


def test_a_pack_from_before_cases_is_read() -> None:
    event = AuditEvent(1, 0, "", "", "", "", "", "", 0, "", "", None, 0, "", 1, "case-1")
    pack = pack_events(1, 1, [event, event])
    columns = orjson.loads(pack.events)
    assert columns.pop("case_id") == "case-1"
    old = pack._replace(events=orjson.dumps(columns).decode())
    assert [one.case_id for one in unpack_events(old)] == ["", ""]
