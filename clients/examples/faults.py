"""Add wrong rows, with the faults of real files, to a day.

Each wrong row names the reason that an upload must return for it.

The expected reason is a name of `hutong.error.v1.ErrorReason`, or DUPLICATE for a row that is stored already. A
duplicate is counted and not rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from clients.examples.day import NEGATIVE, POOL_POSITIVE, POSITIVE, Day, Row, Tube
from clients.examples.people import HK_MACAO_TRAVEL_PERMIT, RESIDENT_ID_CARD, check_character

DUPLICATE = "DUPLICATE"
_NO_SUCH_REGION = "229999"


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to spoil a tube.

    Attributes:
        expected: the reason that an upload must return for each row of the tube.
        spoil: spoils a tube.
        late: whether the tube is a copy of an earlier one.
    """

    expected: str
    spoil: Callable[[Day, Tube], Tube]
    late: bool = False


def _each(**changes: Callable[[Row], str]) -> Callable[[Day, Tube], Tube]:
    """Return a function that changes columns of every row."""

    def spoil(_: Day, tube: Tube) -> Tube:
        return tuple(replace(row, **{column: change(row) for column, change in changes.items()}) for row in tube)

    return spoil


def _moved(stamp: str, **by: float) -> str:
    return (datetime.fromisoformat(stamp) + timedelta(**by)).isoformat()


def _with_wrong_check_character(row: Row) -> str:
    right = check_character(row.card_no)
    return row.card_no[:17] + ("0" if right != "0" else "1")


def _second_outcome(day: Day, tube: Tube) -> Tube:
    """Return a tube of two persons with two outcomes, so that it is unknown which outcome the tube has."""
    (row,) = tube
    second = replace(row.of(day.person()), report_no=day.report_no(), nat_result=POSITIVE)
    return tuple(replace(member, pool_size="5") for member in (row, second))


def _overfull(day: Day, tube: Tube) -> Tube:
    """Return a single tube with two persons."""
    (row,) = tube
    return (row, replace(row.of(day.person()), report_no=day.report_no()))


def _other_content(day: Day, tube: Tube) -> Tube:
    """Return another tube with an earlier report's number and another report time."""
    (row,) = tube
    return (replace(row, report_date=_moved(row.report_date, minutes=45), tube_code=day.tube_code()),)


FAULTS: Mapping[str, Fault] = {
    "wrong check character": Fault("BAD_DOCUMENT_NUMBER", _each(card_no=_with_wrong_check_character)),
    "permit with a digit too few": Fault(
        "BAD_DOCUMENT_NUMBER", _each(card_type=lambda _: HK_MACAO_TRAVEL_PERMIT, card_no=lambda _: "H000001")
    ),
    "no document number": Fault("INVALID_FIELD", _each(card_no=lambda _: "")),
    "report before sampling": Fault(
        "TIMES_OUT_OF_ORDER", _each(report_date=lambda row: _moved(row.sample_date, minutes=-90))
    ),
    "received before sampling": Fault(
        "TIMES_OUT_OF_ORDER", _each(collect_date=lambda row: _moved(row.sample_date, minutes=-20))
    ),
    "report in the future": Fault("TIME_IN_FUTURE", _each(report_date=lambda row: "2100" + row.report_date[4:])),
    "time without a zone": Fault("INVALID_FIELD", _each(report_date=lambda row: row.report_date[:19])),
    "unknown region": Fault("REGION_UNKNOWN", _each(sample_region=lambda _: _NO_SUCH_REGION)),
    "unknown outcome": Fault("INVALID_FIELD", _each(nat_result=lambda _: "待定")),
    "positive pool in a single tube": Fault("POOL_MISMATCH", _each(nat_result=lambda _: POOL_POSITIVE)),
    "pool of 25": Fault("INVALID_FIELD", _each(pool_size=lambda _: "25")),
    "two outcomes in one tube": Fault("POOL_MISMATCH", _second_outcome),
    "two persons in a single tube": Fault("POOL_MISMATCH", _overfull),
    "report sent twice": Fault(DUPLICATE, lambda _, tube: tube, late=True),
    "report number used twice": Fault("CONFLICT", _other_content, late=True),
}

# How often each fault occurs in a round of 40 wrong rows.
_ROUND = (
    ("wrong check character", 6),
    ("permit with a digit too few", 1),
    ("no document number", 2),
    ("report before sampling", 4),
    ("received before sampling", 2),
    ("report in the future", 3),
    ("time without a zone", 4),
    ("unknown region", 3),
    ("unknown outcome", 2),
    ("positive pool in a single tube", 2),
    ("pool of 25", 1),
    ("two outcomes in one tube", 1),  # of two rows
    ("two persons in a single tube", 1),  # of two rows
    ("report sent twice", 4),
    ("report number used twice", 2),
)
_KINDS = tuple(kind for kind, times in _ROUND for _ in range(times))


@dataclass(frozen=True, slots=True)
class Written:
    """A row of the file. `kind` and `expected` are empty for a valid row."""

    row: Row
    kind: str = ""
    expected: str = ""


def spoil_day(random: Random, day: Day, tubes: list[Tube], wrong: int) -> list[Written]:
    """Return the day's rows in order, with the given number of wrong rows among them.

    A wrong row is a tube of its own, so that it does not affect a valid row. The exception is half of the rows with a
    wrong check character: each is added to a pool with one free slot, and the other members must be accepted.
    """
    placed = [(float(index), tuple(Written(row) for row in tube)) for index, tube in enumerate(tubes)]
    short = [index for index, tube in enumerate(tubes) if 1 < len(tube) == int(tube[0].pool_size) - 1]
    singles = [index for index, tube in enumerate(tubes[:-2]) if len(tube) == 1 and tube[0].nat_result == NEGATIVE]
    random.shuffle(short)
    turn = 0
    while wrong > 0:
        kind = _KINDS[turn % len(_KINDS)]
        turn += 1
        fault = FAULTS[kind]
        if fault.late and not singles:
            continue
        if kind == "wrong check character" and turn % 2 and short:
            _add_to_pool(day, placed, short.pop())
            wrong -= 1
            continue
        origin = random.choice(singles) if fault.late else -1
        tube = fault.spoil(day, tubes[origin] if fault.late else day.tube(1, 1, card_type=RESIDENT_ID_CARD))
        if len(tube) > wrong:
            continue
        # At least one tube lies between a copy and its original, because consecutive rows with the same code are one
        # tube.
        position = random.uniform(origin + 1.1, len(tubes))
        placed.append((position, tuple(Written(row, kind, fault.expected) for row in tube)))
        wrong -= len(tube)
    return [written for _, tube in sorted(placed, key=lambda entry: entry[0]) for written in tube]


def _add_to_pool(day: Day, placed: list[tuple[float, tuple[Written, ...]]], index: int) -> None:
    """Add a person with a wrong check character to a pool with a free slot."""
    kind = "wrong check character"
    position, members = placed[index]
    row = replace(members[0].row.of(day.person(RESIDENT_ID_CARD)), report_no=day.report_no())
    row = replace(row, card_no=_with_wrong_check_character(row))
    placed[index] = (position, (*members, Written(row, kind, FAULTS[kind].expected)))
