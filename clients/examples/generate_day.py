"""Write one day of a laboratory as CSV, and the list of its wrong rows beside it.

The same arguments give the same bytes. The project's own day is made by `python -m clients.examples.generate_day`
without arguments.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from datetime import date
from pathlib import Path
from random import Random

from clients.examples.day import COLUMNS, LAB, Day
from clients.examples.faults import Written, spoil_day

PEOPLE = 20_000
WRONG = 200
SEED = 81
DATE = date(2022, 8, 9)
OUT = Path(__file__).with_name("lab-day.csv")


def generate_day(
    people: int = PEOPLE, wrong: int = WRONG, seed: int = SEED, on: date = DATE, lab: str = LAB
) -> list[Written]:
    """Return valid rows for the given number of people, with the given number of wrong rows among them."""
    random = Random(seed)  # noqa: S311 - invented data, no secret
    day = Day(random, on, lab)
    return spoil_day(random, day, day.tubes(people), wrong)


def write_day(rows: Sequence[Written], out: Path) -> Path:
    """Write the file and the list of its wrong rows, and return the path of the list. Line 1 is the header."""
    _write(out, COLUMNS, (astuple(written.row) for written in rows))
    wrong = out.with_suffix(".wrong.csv")
    lines = ((line, w.expected, w.kind) for line, w in enumerate(rows, start=2) if w.expected)
    _write(wrong, ("line", "expected", "kind"), lines)
    return wrong


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="generate_day", description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE, help="people with valid rows (default %(default)s)")
    parser.add_argument("--wrong", type=int, default=WRONG, help="wrong rows among them (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="the same seed gives the same day (default %(default)s)")
    parser.add_argument("--date", type=date.fromisoformat, default=DATE, help="the day (default %(default)s)")
    parser.add_argument("--lab", default=LAB, help="the laboratory's GB 32100 code (default %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="the path of the file (default %(default)s)")
    given = parser.parse_args(arguments)
    rows = generate_day(given.people, given.wrong, given.seed, given.date, given.lab)
    wrong = write_day(rows, given.out)
    print(f"{given.out}: {len(rows)} rows; {wrong}: {sum(bool(row.expected) for row in rows)} of them wrong")


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
