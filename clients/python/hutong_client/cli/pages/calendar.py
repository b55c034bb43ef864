"""Page of `hutong policy calendar --html`: the policies of a region through a year."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hutong.policy.v1.policy_pb2 import TRAVELER_ORIGIN_ANY, EffectivePolicy, Policy
from hutong_texts import english, list_words, tr

from hutong_client.cli.pages.charts import Lane as Row
from hutong_client.cli.pages.charts import Segment, Tick, lanes
from hutong_client.cli.pages.frame import Column, Tone, legend, page, section, table
from hutong_client.cli.pages.html import Html, tag
from hutong_client.cli.provinces import region_words
from hutong_client.formatting import SHANGHAI, moment
from hutong_client.policies.calendar import Calendar, Lane
from hutong_client.policies.rules import (
    describe_answer,
    describe_length,
    describe_origin,
    describe_purposes,
    describe_requirement,
)

_LEGEND = (
    ("plain", english("a result is required")),
    ("warn", english("a result is required, and a floor replaced part of the policy")),
    ("good", english("no result is required")),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A calendar, with its policies by name."""

    calendar: Calendar
    title: str
    rules: Mapping[str, Policy]


def calendar_page(shown: Shown) -> str:
    """Return the page of a calendar as HTML."""
    calendar = shown.calendar
    ruled = [lane for lane in calendar.lanes if any(_is_rule(it.effective) for it in lane.stretches)]
    bare = [lane for lane in calendar.lanes if lane not in ruled]
    windows = [row for lane in ruled for row in table_rows(lane)]
    rules = [_rule(rule) for rule in shown.rules.values()]
    parts = [
        section(tr("Timeline"), legend(_LEGEND), _timeline(ruled, calendar), _unruled(bare), note=tr(_NOTE)),
        section(tr("Windows"), table([Column(title, number=title in _DAYS) for title in COLUMNS], windows)),
        section(
            tr("Policies"),
            table([Column(title) for title in (english("policy"), english("title"), english("document"))], rules),
        ),
    ]
    return page(
        tr("What {region} asks for, {title}", region=region_words(calendar.region), title=shown.title),
        parts,
        subtitle=tr("By purpose, and by origin if the answers differ; civil time of China."),
        footer=tr(
            "As published up to {as_of_time}. Later publications may have changed it.",
            as_of_time=moment(calendar.as_of_time),
        ),
    )


_NOTE = english(
    "A bar begins and ends when the answer changes. Point at a bar to read its policy. A "
    "gap means that no policy is in force, and no floor lifts."
)


def _timeline(ruled: Sequence[Lane], calendar: Calendar) -> Html:
    rows = [Row(_label(lane), list(_segments(lane))) for lane in ruled]
    return lanes(rows, list(_months(calendar)), calendar.start, calendar.end)


def _segments(lane: Lane) -> Iterator[Segment]:
    for it in lane.stretches:
        if _is_rule(it.effective):
            words = tr(
                "{effective}, {start} to {end}",
                effective=describe_answer(it.effective),
                start=day(it.start),
                end=day(it.end),
            )
            yield Segment(it.start, it.end, _short(it.effective), _tone(it.effective), words)


def _months(calendar: Calendar) -> Iterator[Tick]:
    first = datetime.fromtimestamp(calendar.start, SHANGHAI)
    year, month = first.year, first.month
    while (start := datetime(year, month, 1, tzinfo=SHANGHAI)).timestamp() < calendar.end:
        if start.timestamp() >= calendar.start:
            yield Tick(start.timestamp(), tr(_MONTHS[month - 1]))
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


_MONTHS = (
    english("Jan"),
    english("Feb"),
    english("Mar"),
    english("Apr"),
    english("May"),
    english("Jun"),
    english("Jul"),
    english("Aug"),
    english("Sep"),
    english("Oct"),
    english("Nov"),
    english("Dec"),
)


def _unruled(bare: Sequence[Lane]) -> Html:
    if not bare:
        return Html()
    purposes = describe_purposes(dict.fromkeys(purpose for lane in bare for purpose in lane.purposes))
    return tag("p", tr("No policy at any time: {purposes}.", purposes=purposes), class_="note")


COLUMNS = (
    english("purposes"),
    english("coming from"),
    english("from"),
    english("until"),
    english("asks for"),
    english("policy"),
    english("floor"),
)
_DAYS = ("from", "until")


def table_rows(lane: Lane) -> Iterable[Sequence[str]]:
    """Yield a row of COLUMNS for each answer of a lane."""
    for it in lane.stretches:
        yield (
            describe_purposes(lane.purposes),
            describe_origin(lane.origin),
            day(it.start),
            day(it.end),
            _requirement_words(it.effective),
            _local(it.effective.governing),
            list_words(_local(floor) for floor in (it.effective.floor, *it.effective.lower_floors)),
        )


def _rule(rule: Policy) -> Sequence[str]:
    source = " · ".join(it for it in (rule.source.document_number, tr(rule.source.title), rule.source.issue_date) if it)
    return _local(rule.name), tr(rule.title), source


def _requirement_words(effective: EffectivePolicy) -> str:
    """Describe the requirement, and note if a floor lifted the requirement or replaced its validity basis."""
    replaced = any(override.WhichOneof("replaced") == "basis" for override in effective.overrides)
    lifted = (
        tr(", lifted by {lifting_floor}", lifting_floor=_local(effective.lifting_floor))
        if effective.lifting_floor
        else ""
    )
    return describe_requirement(effective) + lifted + (tr(", basis set by the floor") if replaced else "")


def _local(name: str) -> str:
    return name.removeprefix("jurisdictions/")


def day(seconds: int) -> str:
    """Format an instant in civil time of China. Midnight is written as its date alone: "2022-08-05"."""
    at = datetime.fromtimestamp(seconds, SHANGHAI)
    return f"{at:%Y-%m-%d}" if (at.hour, at.minute, at.second) == (0, 0, 0) else f"{at:%Y-%m-%d %H:%M:%S}"


def _label(lane: Lane) -> str:
    origin = "" if lane.origin == TRAVELER_ORIGIN_ANY else tr(", from {origin}", origin=describe_origin(lane.origin))
    return describe_purposes(lane.purposes) + origin


def _short(effective: EffectivePolicy) -> str:
    return describe_length(effective) or tr("none")


def _tone(effective: EffectivePolicy) -> Tone:
    if effective.WhichOneof("requirement") == "not_required":
        return "good"
    return "warn" if effective.overrides else "plain"


def _is_rule(effective: EffectivePolicy) -> bool:
    return effective.WhichOneof("requirement") is not None
