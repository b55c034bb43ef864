"""HUTONG_ACCESS_FILE. With this file an operator changes the contract's grants and the callers' budgets.

The file can narrow grants to regions and to times of day. It cannot widen them. It can raise and lower budgets. Where
the contract leaves it to the operator (`Grant.needs_name`), the file can let callers ask about a document without a
name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml
from hutong_texts import Text, english

from services.domain.instant import DAY, MINUTE, Instant, shanghai_day, shanghai_day_start
from services.domain.region import NATION, is_region, parent, within
from services.runtime.caller import LOCAL, Caller
from services.runtime.configuration.open_files import require_own_rules
from services.runtime.configuration.unreadable import unreadable
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.access.budget import DEFAULTS, NO_LIMIT, Budget
from services.runtime.server.access.names import ROLES, parse_caller

_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-(?:(24):(00)|([01][0-9]|2[0-3]):([0-5][0-9]))")
_LIMITS = tuple(one.name for one in fields(Budget))


class _WrongEntry(ValueError):
    """An entry of the file that cannot be used. The text names the entry and gives the cause."""

    def __init__(self, text: Text) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of the day in Asia/Shanghai. It includes its start, excludes its end, and may cross midnight."""

    start: Instant
    end: Instant

    def hold(self, now: Instant) -> bool:
        """Whether an instant lies within these hours."""
        time = (now - shanghai_day_start(shanghai_day(now))) % DAY
        return self.start <= time < self.end if self.start < self.end else time >= self.start or time < self.end


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Narrows a grant: callers of the role may call if they are in `regions`, and only during `hours`.

    Without regions, callers of every region may call. Without hours, they may call at any time.

    Attributes:
        bare_number: whether these callers may ask about a document without a name.
    """

    regions: tuple[str, ...]
    hours: Hours | None
    bare_number: bool = False

    def admits(self, caller: Caller, now: Instant) -> bool:
        """Whether a caller of the role may call now."""
        if self.regions and not any(within(caller.region, region) for region in self.regions):
            return False
        return self.hours is None or self.hours.hold(now)


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of the callers of a role, of the callers in a region, or of one caller."""

    role: str
    region: str
    caller: str
    limits: Mapping[str, int | None]

    @property
    def closeness(self) -> int:
        """How specifically a quota names its callers.

        A more specific quota overrides the others, because it is applied later.
        """
        return 100 if self.caller else _depth(self.region) if self.region else 0

    def is_of(self, caller: Caller) -> bool:
        """Whether the quota applies to a caller."""
        if self.caller:
            return caller.name == self.caller
        return caller.role == self.role and (not self.region or within(caller.region, self.region))


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The content of the file; empty without a file.

    Attributes:
        grants: the narrowings of each narrowed role. A caller of such a role must be admitted by at least one of its
            narrowings.
        quotas: the quotas in the order of `closeness`; the most specific is last.
    """

    grants: Mapping[str, tuple[Narrowing, ...]]
    quotas: tuple[Quota, ...]

    def admits(self, caller: Caller, now: Instant) -> bool:
        """Whether a caller that the contract permits may call now."""
        narrowed = self.grants.get(caller.role)
        return narrowed is None or any(one.admits(caller, now) for one in narrowed)

    def lets_bare_number(self, caller: Caller, now: Instant) -> bool:
        """Whether a caller may ask about a document without a name."""
        return any(one.bare_number and one.admits(caller, now) for one in self.grants.get(caller.role, ()))

    def budget_of(self, caller: Caller) -> Budget:
        """Return the budget of a caller: the default of its role with the limits that the file states."""
        budget = DEFAULTS.get(caller.role, NO_LIMIT)
        for quota in self.quotas:
            if quota.is_of(caller):
                budget = replace(budget, **quota.limits)
        return NO_LIMIT if budget == NO_LIMIT else budget


NO_RULES = AccessRules({}, ())


def read_access_file(path: Path) -> AccessRules:
    """Return what an access file states.

    Raises:
        BadSetting: the file cannot be read, every user of the machine can change it, or an entry is wrong. No entry is
            skipped.
    """
    require_own_rules("HUTONG_ACCESS_FILE", path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadSetting(english("{name} {fault}", name="HUTONG_ACCESS_FILE", fault=unreadable(path, error))) from None
    except (yaml.YAMLError, ValueError) as error:
        # The error of an impossible date or of a text that is not UTF-8 is a plain ValueError without a mark.
        mark = getattr(error, "problem_mark", None)
        if mark is None:
            raise BadSetting(english("HUTONG_ACCESS_FILE is no YAML: correct it")) from None
        raise BadSetting(english("HUTONG_ACCESS_FILE is no YAML: correct line {line}", line=mark.line + 1)) from None
    try:
        found = _mapping(content if content is not None else {}, english("the file"), {"grants", "quotas"})
        grants: dict[str, tuple[Narrowing, ...]] = {}
        for place, entry in _entries(found, "grants", {"role", "regions", "hours", "bare_number"}):
            role = _role(entry, place)
            grants[role] = (*grants.get(role, ()), _narrowing(entry, place))
        entries = _entries(found, "quotas", {"role", "region", "caller", *_LIMITS})
        quotas = sorted((_quota(entry, place) for place, entry in entries), key=lambda one: one.closeness)
    except _WrongEntry as error:
        raise BadSetting(english("HUTONG_ACCESS_FILE: {error}", error=error.text)) from None
    return AccessRules(grants, tuple(quotas))


def _entries(content: Mapping[str, Any], key: str, known: set[str]) -> list[tuple[str, Mapping[str, Any]]]:
    listed = content.get(key) or []
    if not isinstance(listed, list):
        raise _WrongEntry(english("{key} must be a list", key=key))
    places = [f"{key}[{index}]" for index in range(len(listed))]
    return [(place, _mapping(entry, place, known)) for place, entry in zip(places, listed, strict=True)]


def _mapping(value: Any, place: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _WrongEntry(english("{place} must be a mapping", place=place))
    for key in value:
        if key not in known:
            raise _WrongEntry(
                english(
                    "{place}: {key} is unknown; it may have {known}",
                    place=place,
                    key=str(key)[:40],
                    known=", ".join(sorted(known)),
                )
            )
    return value


def _narrowing(entry: Mapping[str, Any], place: str) -> Narrowing:
    regions = entry.get("regions", [])
    if not isinstance(regions, list) or ("regions" in entry and not regions):
        raise _WrongEntry(english("{place}.regions must be a list of regions", place=place))
    hours = entry.get("hours")
    bare_number = entry.get("bare_number", False)
    if not isinstance(bare_number, bool):
        raise _WrongEntry(english("{place}.bare_number must be true or false", place=place))
    return Narrowing(
        tuple(_region(region, f"{place}.regions") for region in regions),
        None if hours is None else _hours(hours, f"{place}.hours"),
        bare_number,
    )


def _quota(entry: Mapping[str, Any], place: str) -> Quota:
    limits = {name: _limit(entry[name], f"{place}.{name}") for name in _LIMITS if name in entry}
    if not limits:
        raise _WrongEntry(english("{place} states no limit", place=place))
    if "caller" in entry:
        if {"role", "region"} & set(entry):
            raise _WrongEntry(english("{place}: caller stands without role and region", place=place))
        caller = str(entry["caller"])
        if parse_caller(caller) is None:
            raise _WrongEntry(english("{place}.caller must be the name of a caller, like gates/410100/7", place=place))
        return Quota("", "", caller, limits)
    region = _region(entry["region"], f"{place}.region") if "region" in entry else ""
    return Quota(_role(entry, place), region, "", limits)


def _role(entry: Mapping[str, Any], place: str) -> str:
    role = entry.get("role")
    if role != LOCAL and role not in ROLES:
        raise _WrongEntry(english("{place}.role must be one of {roles}", place=place, roles=", ".join([*ROLES, LOCAL])))
    return str(role)


def _region(value: Any, place: str) -> str:
    # YAML reads a code without quotation marks as a number.
    text = f"{value:06d}" if isinstance(value, int) else str(value)
    if not is_region(text):
        raise _WrongEntry(english("{place} must be a region, like 410100", place=place))
    return text


def _hours(value: Any, place: str) -> Hours:
    found = _HOURS.fullmatch(str(value))
    if found is None:
        raise _WrongEntry(english("{place} must be like 06:00-23:00", place=place))
    start_hour, start_minute, *end = (int(part) for part in found.groups() if part is not None)
    hours = Hours((start_hour * 60 + start_minute) * MINUTE, (end[0] * 60 + end[1]) * MINUTE)
    if hours.start == hours.end:
        raise _WrongEntry(english("{place} begins where it ends", place=place))
    return hours


def _limit(value: Any, place: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _WrongEntry(english("{place} must be a whole number of at least 1, or null for no limit", place=place))
    return value


def _depth(region: str) -> int:
    """Return how many levels deep a region lies; 1 for the nation."""
    depth, above = 1, region
    while above != NATION and (higher := parent(above)) is not None:
        depth, above = depth + 1, higher
    return depth
