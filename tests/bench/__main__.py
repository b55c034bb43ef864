"""`make bench`: measures every figure and the limit it is compared with. Prints a table and writes build/bench.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from services.command.version import find_version
from tests.bench.exchange import bench_exchange
from tests.bench.fairness import bench_fairness
from tests.bench.lookups import bench_lookups
from tests.bench.measure import Measurement
from tests.bench.memory import bench_memory
from tests.bench.neighbours import bench_neighbours
from tests.bench.overload import bench_overload
from tests.bench.policy import bench_policy
from tests.bench.relay import bench_relay
from tests.bench.strangers import bench_strangers
from tests.bench.trust import bench_trust
from tests.bench.upload import bench_upload
from tests.bench.verify import bench_verify
from tests.bench.workers import bench_workers
from tests.support.databases import PostgresServer
from tests.support.guard import guarded

OUTPUT = Path("build/bench.json")


def main() -> int:
    """Run the chosen benches. Return 1 if a ratio is below its least value."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    others = [
        "memory",
        "fairness",
        "lookups",
        "exchange",
        "relay",
        "strangers",
        "trust",
        "neighbours",
        "workers",
        "overload",
    ]
    names = ["upload", "verify", "policy", *others]
    parser.add_argument("only", nargs="*", choices=[*names, []], help="which benches to run (default all)")
    parser.add_argument("--persons", type=int, default=200_000, help="persons to upload (default 200,000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each call round (default 5)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large store (default 1,000,000)")
    parser.add_argument("--memory-seconds", type=float, default=60.0, help="longest stream for memory (default 60)")
    options = parser.parse_args()
    with guarded(), tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        postgres = PostgresServer(directory / "postgresql")
        benches: dict[str, Callable[[], list[Measurement]]] = {
            "upload": lambda: bench_upload(directory, postgres, options.persons),
            "verify": lambda: bench_verify(directory, postgres, min(options.persons, 100_000), options.seconds),
            "policy": lambda: bench_policy(directory, postgres, options.seconds),
            "memory": lambda: bench_memory(directory, postgres, options.persons, options.memory_seconds),
            "fairness": lambda: bench_fairness(directory, postgres, max(options.seconds, 15.0)),
            "exchange": lambda: bench_exchange(directory, postgres, options.persons),
            "relay": lambda: bench_relay(directory, postgres, options.persons),
            "strangers": lambda: bench_strangers(directory, postgres, 20_000, options.seconds),
            "trust": lambda: bench_trust(directory, postgres, 20_000, options.seconds),
            "neighbours": lambda: bench_neighbours(directory, postgres, 20_000),
            "workers": lambda: bench_workers(directory, postgres, 20_000, options.seconds),
            "overload": lambda: bench_overload(directory, postgres, min(options.persons, 20_000), options.seconds),
            "lookups": lambda: bench_lookups(directory, postgres, options.rows),
        }
        try:
            found = [line for name in options.only or benches for line in benches[name]()]
        finally:
            postgres.stop()
    _print(found)
    _store(found)
    return int(any(line.must is not None and line.ratio < line.must for line in found))


def _print(found: list[Measurement]) -> None:
    table = Table("what", "rate", "held against", "its rate", "unit", "ratio", "must")
    for line in found:
        must = "" if line.must is None else f"{line.must:.2f}"
        table.add_row(
            line.what, _shown(line.rate), line.limit, _shown(line.limit_rate), line.unit, f"{line.ratio:.2f}", must
        )
    Console(width=120).print(table)


def _shown(number: float) -> str:
    """Return a number with a decimal place if it is small, such as a time in milliseconds."""
    return f"{number:,.0f}" if number >= 100 else f"{number:,.1f}"


def _store(found: list[Measurement]) -> None:
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    lines = [asdict(line) | {"ratio": line.ratio} for line in found]
    OUTPUT.parent.mkdir(exist_ok=True)
    _, commit = find_version()
    OUTPUT.write_text(json.dumps({"machine": machine, "commit": commit, "measurements": lines}, indent=2) + "\n")
    print(f"stored in {OUTPUT}")


if __name__ == "__main__":
    sys.exit(main())
