"""Decisions for which reports were shown, for the tests of flags and cases."""

from __future__ import annotations

from hutong.verification.v1.decision_pb2 import DecisionInputs

from services.domain.instant import HOUR, shanghai_day, to_timestamp
from services.domain.subject import Pepper
from services.runtime.ids import uuid7
from services.storage.engine import Database
from services.verification.decision.model import NEGATIVE, Evidence
from services.verification.showings.model import Showing, tags_of
from services.verification.stored_decisions.store import DecisionStore, KeptAnswer, StoredDecision

NOW = 1_660_190_400_000_000
LAB, OTHER_LAB = "91410100MA0000001X", "91220500MA00000029"
PEPPER = Pepper(b"p" * 32)
NEW = Pepper(b"n" * 32, 2, PEPPER)


def showing(
    person: int, number: str = "R1", sampled: int = NOW - 9 * HOUR, *, lab: str = LAB, region: str = "410105",
    peppers: tuple[Pepper, ...] = (PEPPER,), certain: bool = False, kinds: frozenset[int] = frozenset(),
) -> StoredDecision:  # fmt: skip
    """Return a decision for which a person shows a report."""
    evidence = Evidence(7, f"labs/{lab}", number, NEGATIVE, sampled, None)  # type: ignore[arg-type]
    tags = tuple(tags_of(lab, evidence, pepper.secret[:8] + bytes([person] * 8), pepper) for pepper in peppers)
    uuid = uuid7()
    one = Showing(lab, number, kinds, certain, True, tags, uuid, region, shanghai_day(NOW))  # type: ignore[arg-type]
    inputs = DecisionInputs(region=region, evaluate_time=to_timestamp(NOW)).SerializeToString()
    return StoredDecision(uuid, NOW, b"decision", inputs, showings=(one,))


async def keep(database: Database, *kept: StoredDecision) -> None:
    """Store decisions in one transaction."""
    await DecisionStore(database).keep_answers([KeptAnswer(one, None) for one in kept])
