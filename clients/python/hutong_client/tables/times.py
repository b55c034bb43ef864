"""Read times as laboratories write them, and explain the ones that Excel has mangled."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.protobuf.timestamp_pb2 import Timestamp
from hutong_texts import english, tr

from hutong_client.formatting import SHANGHAI
from hutong_client.tables.faults import BadCell
from hutong_client.tables.rows import Cell

NO_ZONE = english(
    "the time has no zone; write it as 2022-08-09T08:52:18+08:00, or upload with "
    "--timezone Asia/Shanghai if the file's times are China's"
)
_AS_TEXT = english("format the column as yyyy-mm-dd hh:mm:ss in Excel, save again and look at the cell")

_CIVIL = re.compile(
    r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?[T\s]*"
    r"(\d{1,2})[:：时](\d{1,2})(?:[:：分](\d{1,2})(?:[.,](\d{1,6})\d*)?秒?|分)?\s*"
    r"(Z|[+-]\d{2}:?\d{2})?",
    re.IGNORECASE,
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})[T ]?(\d{2}):?(\d{2})(?::?(\d{2}))?()(Z|[+-]\d{2}:?\d{2})?", re.IGNORECASE)
_WEEKDAY = re.compile(r"[(\[]?(?:星期|周|礼拜)[一二三四五六日天][)\]]?")
_HALF_OF_DAY = re.compile(r"(上午|下午|AM|PM)\s*(\d{1,2})(.*)|(\d{1,2})([:时]\d.*?)\s*(上午|下午|AM|PM)", re.IGNORECASE)
"""The half of a day before or behind a time of twelve hours, as spreadsheet programs write it."""
_BEIJING = re.compile(r"\s*\(?北京时间\)?\s*")
_MANGLED = (
    (re.compile(r"#+"), english("Excel wrote # signs because the column was too narrow; widen it and save again")),
    (re.compile(r"\d{5}(\.\d+)?"), english("Excel wrote the time as a serial number; {as_text}", as_text=_AS_TEXT)),
    (
        re.compile(r"\d+(\.\d+)?[Ee]\+?\d+"),
        english("Excel wrote the time as a rounded number; {as_text}", as_text=_AS_TEXT),
    ),
    (re.compile(r"\d{1,2}:\d{2}(:\d{2})?(\.\d+)?"), english("Excel cut the date off; {as_text}", as_text=_AS_TEXT)),
    (
        re.compile(r"\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?|\d{8}"),
        english(
            "the date has no time of day, and a window is counted from the minute; write it as "
            "2022-08-09T08:52:18+08:00"
        ),
    ),
    (
        re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}.*"),
        english("it is unclear which number is the day and which the month; {as_text}", as_text=_AS_TEXT),
    ),
)
_TWO_TIMES = english("the columns of the date and of the time of day contradict each other; correct one of them")
_COMPACT_DAY = re.compile(r"\d{8}")
_NOT_A_TIME = english("this is not a time; write it as 2022-08-09T08:52:18+08:00")


def parse_zone(text: str) -> tzinfo:
    """Return the zone of a name, "Asia/Shanghai", or an offset, "+08:00"; raise ValueError for any other text."""
    if text == "Asia/Shanghai":
        return SHANGHAI
    if re.fullmatch(r"[+-]\d{2}:?\d{2}", text):
        return _offset(text)
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            tr("{value} is not a time zone; give a name like Asia/Shanghai or an offset like +08:00", value=text)
        ) from None


def has_zone(cell: Cell) -> bool:
    """Check whether a cell is a time with a zone."""
    match = _match(cell) if isinstance(cell, str) else None
    return bool(match and match[8])


def parse_time(cell: Cell, zone: tzinfo | None) -> Timestamp:
    """Return the instant of a cell. A time without a zone is read in `zone`.

    Raises:
        BadCell: the cell is not a time, was mangled by Excel, or has no zone while `zone` is None.
    """
    if isinstance(cell, datetime):
        return _instant(cell, zone)
    if isinstance(cell, time):
        raise BadCell(tr("Excel cut the date off; {as_text}", as_text=_AS_TEXT))
    # Cached, because members of a pool share their times.
    return _parse_text(cell if isinstance(cell, str) else f"{cell:.15g}", zone)


@lru_cache(maxsize=4096)
def _parse_text(text: str, zone: tzinfo | None) -> Timestamp:
    match = _match(text)
    if not match:
        raise BadCell(next((words for form, words in _MANGLED if form.fullmatch(text)), _NOT_A_TIME))
    numbers = [int(part) for part in match.groups()[:6] if part]
    fraction = int((match[7] or "").ljust(6, "0"))
    stated = _offset(match[8]) if match[8] else None
    try:
        moment = datetime(*numbers, microsecond=fraction, tzinfo=stated)  # type: ignore[arg-type,misc]
    except ValueError:
        raise BadCell(tr("there is no such date or time of day")) from None
    return _instant(moment, zone)


def _match(text: str) -> re.Match[str] | None:
    found = _CIVIL.fullmatch(text) or _COMPACT.fullmatch(text)
    if found is None and (plain := _spell_plainly(text)) != text:
        found = _CIVIL.fullmatch(plain) or _COMPACT.fullmatch(plain)
    return found


def _spell_plainly(text: str) -> str:
    """Return a time in 24 hours and half width, without the day of the week; the same text if it contradicts itself."""
    plain = unicodedata.normalize("NFKC", text)
    plain = _WEEKDAY.sub(" ", plain).replace("点", "时")
    if _BEIJING.search(plain):
        plain = _BEIJING.sub(" ", plain).strip() + "+08:00"
    half = _HALF_OF_DAY.search(plain)
    if half:
        word, hour, rest = (half[1], half[2], half[3]) if half[1] else (half[6], half[4], half[5])
        is_afternoon, number = word.upper() in {"下午", "PM"}, int(hour)
        if number > 12 and not is_afternoon:
            return text
        number = number % 12 + (12 if is_afternoon else 0) if number <= 12 else number
        plain = f"{plain[: half.start()].rstrip()} {number:02}{rest}{plain[half.end() :]}"
    return plain.strip()


def join_time(date: Cell, of_day: Cell) -> Cell:
    """Return a time whose date and time of day are in two cells.

    If one cell already has both the date and the time of day, this cell is taken alone, unless the other cell
    contradicts it.

    Raises:
        BadCell: the cells contradict each other.
    """
    if isinstance(date, datetime):
        day = f"{date:%Y-%m-%d}"
        if date.time() != time():
            date_text = f"{date:%Y-%m-%d %H:%M:%S}"
            return _agree(date_text, of_day)
    else:
        day = str(date).strip()
    if isinstance(of_day, datetime):
        return _agree_day(day, f"{of_day:%Y-%m-%d %H:%M:%S}")
    clock = of_day.strftime("%H:%M:%S") if isinstance(of_day, time) else str(of_day).strip()
    if _match(clock):
        return _agree_day(day, clock)
    if _match(day):
        return _agree(day, clock)
    if _COMPACT_DAY.fullmatch(day):
        day = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    # A date that a workbook holds as text may end with the time 00:00:00.
    return f"{day.removesuffix(' 00:00:00')} {clock}"


def _agree(whole: str, of_day: Cell) -> str:
    """Return a whole time if it contains the time of day. If it is midnight, it takes over the time of day."""
    clock = of_day.strftime("%H:%M:%S") if isinstance(of_day, datetime | time) else str(of_day).strip()
    if whole.endswith(" 00:00:00"):
        return whole.removesuffix(" 00:00:00") + f" {clock}"
    if clock not in whole:
        raise BadCell(_TWO_TIMES)
    return whole


def _agree_day(day: str, whole: str) -> str:
    """Return a whole time if its date is the day."""
    if re.findall(r"\d+", day)[:3] and list(map(int, re.findall(r"\d+", day)[:3])) != list(
        map(int, re.findall(r"\d+", whole)[:3])
    ):
        raise BadCell(_TWO_TIMES)
    return whole


def _instant(moment: datetime, zone: tzinfo | None) -> Timestamp:
    if moment.tzinfo is None:
        if zone is None:
            raise BadCell(NO_ZONE)
        moment = moment.replace(tzinfo=zone)
    stamp = Timestamp()
    try:
        stamp.FromDatetime(moment)
    except (ValueError, OverflowError):
        raise BadCell(tr("there is no such date or time of day")) from None
    return stamp


def _offset(text: str) -> timezone:
    if text in "Zz":
        return UTC
    sign = -1 if text[0] == "-" else 1
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 23 or minutes > 59:
        raise BadCell(tr("there is no such time zone"))
    return timezone(sign * timedelta(hours=hours, minutes=minutes))
