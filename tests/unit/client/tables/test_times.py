"""Times as laboratories write them and as Excel mangles them."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta, timezone

import pytest
from hutong_client.formatting import SHANGHAI
from hutong_client.tables.faults import BadCell
from hutong_client.tables.times import has_zone, parse_time, parse_zone
from hypothesis import given
from hypothesis import strategies as st

NINE = datetime(2022, 8, 9, 8, 52, 18, tzinfo=SHANGHAI)


def instant(cell: str | float | datetime, zone: str = "") -> datetime:
    stamp = parse_time(cell, parse_zone(zone) if zone else None)
    return stamp.ToDatetime(SHANGHAI)


@pytest.mark.parametrize(
    "text",
    [
        "2022-08-09T08:52:18+08:00",
        "2022-08-09 08:52:18 +0800",
        "2022-08-09T00:52:18Z",
        "2022/8/9 8:52:18+08:00",
        "2022年8月9日 8时52分18秒+08:00",
        "2022-08-09 08:52:18.000+08:00",
        "20220809085218+08:00",
    ],
)
def test_time_with_its_zone_is_an_instant(text: str) -> None:
    """However it is written, and whatever zone is given beside it."""
    assert has_zone(text)
    assert instant(text) == instant(text, "Asia/Tokyo") == NINE


@pytest.mark.parametrize(
    "cell", ["2022-08-09 08:52:18", "2022/8/9 8:52:18", "20220809085218", NINE.replace(tzinfo=None)]
)
def test_time_without_a_zone_needs_one(cell: str | datetime) -> None:
    """Never assumed silently; the message offers China's."""
    assert not has_zone(cell)
    with pytest.raises(BadCell, match="--timezone Asia/Shanghai"):
        instant(cell)
    assert instant(cell, "Asia/Shanghai") == instant(cell, "+08:00") == NINE


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        ("44782.3696", "serial number"),
        (44782.3696, "serial number"),
        ("52:18.0", "cut the date off"),
        ("########", "too narrow"),
        ("2.02208E+13", "rounded number"),
        ("2022-08-10", "no time of day"),
        ("20220809", "no time of day"),
        ("8/9/2022 8:52", "the day and which the month"),
        ("2022-13-09 08:52:18", "no such date"),
        ("2022-08-09 25:52:18", "no such date"),
        ("2022-08-09T08:52:18+99:00", "no such time zone"),
        ("yesterday", "not a time"),
    ],
)
def test_mangled_time_says_what_to_do(cell: str | float, hint: str) -> None:
    """Each in words for a clerk, and never with the cell in it."""
    with pytest.raises(BadCell, match=hint) as caught:
        instant(cell, "Asia/Shanghai")
    assert str(cell) not in caught.value.description


@given(
    st.integers(min_value=0, max_value=300 * 366 * 86_400_000_000),
    st.integers(min_value=-14, max_value=14),
)
def test_iso_times_come_through_to_the_microsecond(microseconds: int, hours: int) -> None:
    """Any instant, in any zone, is the same instant."""
    begin = datetime(1900, 1, 1, tzinfo=timezone(timedelta(hours=hours)))
    aware = begin + timedelta(microseconds=microseconds)
    assert instant(aware.isoformat()) == aware


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_bad_cell(text: str) -> None:
    """Every text that a clerk types is a time or a bad cell."""
    with contextlib.suppress(BadCell):
        parse_time(text, SHANGHAI)


@pytest.mark.parametrize("text", ["Asia/Nowhere", "8", "+8", "../etc/passwd", ""])
def test_wrong_zone_is_refused(text: str) -> None:
    """The error gives an example of a zone."""
    with pytest.raises(ValueError, match="Asia/Shanghai"):
        parse_zone(text)
