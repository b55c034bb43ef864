"""`make bench-compare A=... B=...`: runs benches at two commits in turns, so that noise of the machine affects both.

Prints each row with its median and range at both commits, and writes build/bench-compare.json. Nothing fails, because a
difference within the ranges says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
CHECKOUTS = Path("build/bench-compare")
OUTPUT = Path("build/bench-compare.json")
ROUNDS = 3

Row = Mapping[str, Any]
"""A measurement as `make bench` stores it."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one row at one commit, one of each round."""

    rates: list[float]
    ratios: list[float]


@dataclass(frozen=True, slots=True)
class Compared:
    """One row at two commits. A commit that does not measure it has no figures."""

    what: str
    unit: str
    first: Figures
    second: Figures

    @property
    def change(self) -> float | None:
        """The median rate of the second commit as a multiple of the first one's; None if one of them has none."""
        if not self.first.rates or not self.second.rates:
            return None
        return median(self.second.rates) / median(self.first.rates)


def compare(first: Sequence[Sequence[Row]], second: Sequence[Sequence[Row]]) -> list[Compared]:
    """Return each row that either commit measured in any round, in the order of first appearance."""
    units = {row["what"]: row["unit"] for rounds in (first, second) for rows in rounds for row in rows}
    return [Compared(what, unit, _figures(first, what), _figures(second, what)) for what, unit in units.items()]


def _figures(rounds: Sequence[Sequence[Row]], what: str) -> Figures:
    rows = [row for rows in rounds for row in rows if row["what"] == what]
    return Figures([row["rate"] for row in rows], [row["ratio"] for row in rows])


def order(rounds: int) -> list[bool]:
    """Return for each run whether it is the first commit's: A B, B A, A B, so that a drift cancels out."""
    return [is_first for turn in range(rounds) for is_first in ((True, False) if turn % 2 == 0 else (False, True))]


def main() -> int:
    """Compare two commits."""
    parser = argparse.ArgumentParser(prog="make bench-compare", description=__doc__)
    parser.add_argument("first", metavar="A", help="a commit or branch")
    parser.add_argument("second", metavar="B", help="another one")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each commit (default {ROUNDS})")
    options, bench = parser.parse_known_args()
    commits = [_git("rev-parse", "--verify", f"{name}^{{commit}}") for name in (options.first, options.second)]
    checkouts = [_checkout(commit) for commit in commits]
    found: tuple[list[list[Row]], list[list[Row]]] = ([], [])
    machine: Mapping[str, Any] = {}
    for is_first in order(options.rounds):
        which = 0 if is_first else 1
        stored = _run(checkouts[which], bench)
        machine = stored["machine"]
        found[which].append(stored["measurements"])
    rows = compare(*found)
    _print(rows, commits)
    lines = [asdict(row) | {"change": row.change} for row in rows]
    OUTPUT.write_text(json.dumps({"machine": machine, "commits": commits, "rows": lines}, indent=2) + "\n")
    print(f"stored in {OUTPUT}")
    return 0


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _checkout(commit: str) -> Path:
    """Check a commit out beside this checkout, unless that was done before."""
    path = ROOT / CHECKOUTS / commit[:12]
    if not path.is_dir():
        _git("worktree", "prune")
        _git("worktree", "add", "--detach", str(path), commit)
    return path


def _run(checkout: Path, bench: Sequence[str]) -> dict[str, Any]:
    """Run the benches of a checkout. Return what it has stored."""
    print(f"{checkout.name}: {' '.join(bench) or 'all benches'}", flush=True)
    environment = os.environ | {"PYTHONPATH": f"{checkout}{os.pathsep}{checkout / 'clients/python'}"}
    stored = checkout / "build/bench.json"
    stored.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.bench", *bench]
    # A bench ends with 1 if a ratio is too low, and has stored its figures nevertheless.
    ended = subprocess.run(command, cwd=checkout, env=environment, check=False, stdout=subprocess.DEVNULL)
    if not stored.is_file():
        raise SystemExit(f"{checkout.name}: the bench ended with {ended.returncode} and stored no figures")
    figures: dict[str, Any] = json.loads(stored.read_text())
    return figures


def _shown(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def _print(rows: Sequence[Compared], commits: Sequence[str]) -> None:
    a, b = (commit[:12] for commit in commits)
    table = Table("what", "unit", a, b, "change", f"ratio, {a}", f"ratio, {b}")
    for row in rows:
        change = "-" if row.change is None else f"{row.change:.2f}"
        rates = (_shown(row.first.rates, 0), _shown(row.second.rates, 0))
        table.add_row(row.what, row.unit, *rates, change, _shown(row.first.ratios, 2), _shown(row.second.ratios, 2))
    Console(width=170).print(table)


if __name__ == "__main__":
    sys.exit(main())
