"""The exchange's protocol, checked by spin (docs/exchange.md §5).

`make check-tools` searches a small configuration, `make soak-protocol` a larger one. For each invariant a fault is put
into the model, to see that spin finds it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.processes import run

WANTED = os.environ.get("HUTONG_CHECK_TOOLS", "")
SEARCHES = os.environ.get("HUTONG_MODEL_LIMITS", "COMMITS=2 OTHERS=0;COMMITS=1").split(";")
"""The limits of each search, as definitions of the model. The first has about a million states, the second three."""
REFUSALS = os.environ.get("HUTONG_REFUSALS_LIMITS", "REPORT_B=0 LATE=0;REPORT_A=0 LATE=0").split(";")
"""The limits of each search of the model of reported refusals. Each has about a million states."""
SUBSCRIPTIONS = os.environ.get("HUTONG_SUBSCRIPTIONS_LIMITS", "LOW_RESTORES=0;CUTS=0 CHANGES=0").split(";")
"""The limits of each search of the model of subscriptions. They have 450,000 and 160,000 states."""
SECONDS = float(os.environ.get("HUTONG_MODEL_SECONDS", "300"))
"""The longest that a search may take, and the compiler before it. The small searches take 6 to 15 seconds of a core."""
MEMORY_MIB = os.environ.get("HUTONG_MODEL_MEMORY", "1500")
TOOLS = {name: shutil.which(name) for name in ("spin", "gcc")}
if not WANTED:
    pytest.skip("make check-tools runs these tests", allow_module_level=True)
if None in TOOLS.values() and WANTED != "required":
    pytest.skip("spin or gcc is not installed (Debian: spin, gcc)", allow_module_level=True)

MODELS = Path(__file__).parent.parent / "models"


def search(directory: Path, *definitions: str, model: str = "exchange.pml") -> str:
    """Search every state that the model reaches. Return the verifier's report."""
    for name, path in TOOLS.items():
        assert path, f"{name} is not installed (Debian: spin, gcc)"
    flags = [f"-D{one}" for one in definitions]
    made = run([str(TOOLS["spin"]), "-a", *flags, str(MODELS / model)], cwd=directory)
    assert made.returncode == 0, made.stdout
    compact = ["-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MIB}"]
    compiled = run([str(TOOLS["gcc"]), "-O1", "-w", *compact, "-o", "pan", "pan.c"], cwd=directory, timeout=SECONDS)
    assert compiled.returncode == 0, compiled.stderr
    return run([str(directory / "pan"), "-m1000000", "-w24"], cwd=directory, timeout=SECONDS).stdout


@pytest.mark.parametrize(
    ("model", "limits"),
    [
        *(("exchange.pml", limits) for limits in SEARCHES),
        *(("refusals.pml", limits) for limits in REFUSALS),
        *(("subscriptions.pml", limits) for limits in SUBSCRIPTIONS),
    ],
)
def test_no_state_breaks_an_invariant(tmp_path: Path, model: str, limits: str) -> None:
    """No state loses anything, has an effect twice, breaks the order, meets a token early or believes a stranger.

    Of reported refusals, no state leaves two nodes with different reports, or lets them send reports for ever. No state
    leaves a subscription that the node above has lost.
    """
    report = search(tmp_path, *limits.split(), model=model)
    assert "errors: 0" in report, report
    assert "Search not completed" not in report, report
    assert "max search depth too small" not in report, report


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        ("FORGET", "top_held&"),
        ("STALE", "held& ~(top_held)"),
        ("TWICE", "times[id]<=1"),
        ("DISORDER", "before[id]& ~(top_held)"),
        ("EARLY", "sequence_of[id]<=newest"),
        ("SAME_LIFE", "own_position<=relayed"),
        ("AHEAD", "top_reached[((life_of[id]"),
        ("BELIEVE", "held&(1<<7)"),
    ],
)
def test_a_fault_breaks_its_invariant(tmp_path: Path, fault: str, broken: str) -> None:
    """Spin finds each fault.

    A position moves before the commit is stored. A frame of an earlier connection is taken. Each arrival has an effect.
    Commits are sent without regard to turns. A restore of the bottom begins no new life, or one of the middle does not.
    Positions of the bottom are stated before what they stand for. A receiver believes any sender.
    """
    limits = "COMMITS=1" if fault == "SAME_LIFE" else "COMMITS=2 OTHERS=0"
    report = search(tmp_path, *limits.split(), fault)
    assert "errors: 1" in report, report
    assert broken in next(line for line in report.splitlines() if "assertion violated" in line)


@pytest.mark.parametrize(
    ("fault", "limits", "broken"),
    [
        ("SENT", "REPORT_B=0 LATE=0", "knows[0]==knows[1]"),
        ("TRUST", "REPORT_B=0 LATE=0", "knows[0]==knows[1]"),
        ("ONE_MORE", "REPORT_A=0 LATE=0", "knows[0]==knows[1]"),
        ("EAGER", "REPORT_B=0 LATE=0 LOW_RESTORES=0", "knows[0]==knows[1]"),
        ("STALE", "REPORT_B=0", "knows[0]==knows[1]"),
        ("ECHO", "REPORT_B=0 LATE=0", "fresh+12"),
        ("BELIEVE", "REPORT_B=0 LATE=0", "tree&(2<<"),
    ],
)
def test_a_fault_breaks_the_exchange_of_refusals(tmp_path: Path, fault: str, limits: str, broken: str) -> None:
    """Spin finds each fault.

    A report leaves the outbox once it is sent. Numbers are not compared. A node that lost one frame is not noticed. A
    restored node above stores that the numbers fit before the node below has begun the stream. A frame of an earlier
    stream is stored. Each report is sent back. A receiver believes any sender.
    """
    report = search(tmp_path, *limits.split(), fault, model="refusals.pml")
    assert "errors: 1" in report, report
    assert broken in next(line for line in report.splitlines() if "assertion violated" in line)


@pytest.mark.parametrize("fault", ["CURSOR_ONLY", "ONE_POSITION", "PASSED", "REPLACED", "NUMBER_ONLY", "SAME_WATCH"])
def test_a_fault_loses_a_subscription(tmp_path: Path, fault: str) -> None:
    """Spin finds each fault.

    A watch states its cursor alone. One position is kept, not one of each life. A position is deleted once the cursor
    is beyond it. A node that begins again deletes all positions, or those whose number has not grown. A watch outlives
    a restore.
    """
    limits = "LOW_RESTORES=0 CUTS=0" if fault == "SAME_WATCH" else "LOW_RESTORES=0 CHANGES=0"
    report = search(tmp_path, *limits.split(), fault, model="subscriptions.pml")
    assert "errors: 1" in report, report
    assert "wanted& ~(subscribed)" in next(line for line in report.splitlines() if "assertion violated" in line)
