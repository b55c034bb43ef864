"""Legal holds: a purge takes held results out of use and keeps them until the hold is lifted."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from hutong.results.v1.legal_hold_service_pb2 import (
    CreateLegalHoldRequest,
    CreateLegalHoldResponse,
    LiftLegalHoldRequest,
    LiftLegalHoldResponse,
)
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, CorrectResultResponse
from sqlalchemy import func, select

from services.domain.errors import NotFound, Unavailable
from services.domain.instant import DAY, HOUR, Instant
from services.results.corrections.model import Correction
from services.results.holds.model import LegalHold
from services.results.holds.store import BEFORE_ANY_HELD, MOVED, HeldPosition, destroy_released
from services.results.holds.tables import held_results
from services.results.records.partitions import list_partitions, month_of, month_start
from services.results.retention import purge as purge_module
from services.results.retention.model import Deletion, PurgePace
from services.results.retention.purge import purge
from services.results.retention.tables import deletion_counts
from services.runtime.ids import uuid7
from services.storage.advisory_locks import AdvisoryLock
from services.storage.deletion_counts import DeletionCounts
from services.storage.idempotency import IdempotentRequest
from services.storage.process_lock import try_process_lock
from tests.support.results.factories import NEGATIVE, NOW, USCC, make_tube, subject_key
from tests.support.results.store import Laboratory

HORIZON = month_start(month_of(NOW))
BEFORE = HORIZON - HOUR
OTHER = "91320583MA2XYZ123A"


async def put(laboratory: Laboratory, **conditions: Any) -> str:
    """Put a hold. Return its id."""
    hold_id = uuid7()
    stated = {"subject_key": None, "other_key": None, "lab": "", "report_start": None, "report_end": None, **conditions}
    hold = LegalHold(
        hold_id,
        masked_number="",
        reason="forged",
        create_time=NOW,
        actor="supervisors/410000/li",
        case_id="17",
        **stated,
    )
    request = CreateLegalHoldRequest()
    await laboratory.stores.holds.create(
        hold, IdempotentRequest(request, CreateLegalHoldResponse, lambda _: CreateLegalHoldResponse(), NOW)
    )
    return hold_id


async def lift(laboratory: Laboratory, hold_id: str) -> None:
    request = LiftLegalHoldRequest()
    once = IdempotentRequest(request, LiftLegalHoldResponse, lambda _: LiftLegalHoldResponse(), NOW)
    await laboratory.stores.holds.lift(hold_id, "closed", None, once)


async def kept(laboratory: Laboratory, hold_id: str) -> list[tuple[str, int, str]]:
    """Return report number, revision and reason of what a hold keeps, read in pages of two."""
    found: list[tuple[str, int, str]] = []
    after = None
    while page := await laboratory.stores.holds.list_held(hold_id, after, 2):
        found += [(it.result.report_number, it.result.revision, it.revision_reason) for it in page]
        last = page[-1].result
        after = (last.lab, last.report_number, last.revision)
    return found


def remove(laboratory: Laboratory, before: Instant = HORIZON) -> Deletion:
    return purge(laboratory.database, before, NOW, PurgePace(step_size=2))


def removed(laboratory: Laboratory, deletion: Deletion) -> dict[str, int]:
    counted = laboratory.database.read_now(DeletionCounts(deletion_counts, deletion.deletion_id).read)
    return {store: counted.get(store, 0) for store in (MOVED, held_results.name)}


async def test_held_results_leave_use_and_stay_until_the_hold_is_lifted(laboratory: Laboratory) -> None:
    """Holds by person, by laboratory and by time. Whole months are dropped as without holds."""
    tubes = [make_tube(person, reported=BEFORE - person * DAY, sampled=BEFORE - 9 * DAY) for person in range(6)]
    tubes[1].ClearField("receive_time")
    tubes[1].ClearField("test_time")
    await laboratory.send([*tubes, make_tube(9, reported=NOW)], now=BEFORE)
    once = IdempotentRequest(CorrectResultRequest(), CorrectResultResponse, lambda _: CorrectResultResponse(), NOW)
    corrected = Correction(USCC, "R1", NEGATIVE, None, BEFORE - 2 * DAY, "a slip")
    await laboratory.stores.corrections.correct(corrected, once)
    person = await put(laboratory, subject_key=subject_key(1), lab=USCC)
    times = await put(laboratory, report_start=BEFORE - 4 * DAY, report_end=BEFORE - 3 * DAY)
    elsewhere = await put(laboratory, lab=OTHER)
    deletion = remove(laboratory)
    assert (deletion.result_count, removed(laboratory, deletion)) == (4, {MOVED: 3, held_results.name: 0})
    assert await laboratory.numbers() == ["R9"]
    assert await kept(laboratory, person) == [("R1", 1, ""), ("R1", 2, "a slip")]
    assert await kept(laboratory, times) == [("R4", 1, "")]
    assert await kept(laboratory, elsewhere) == []
    if laboratory.dialect == "postgresql":
        assert all(one.end > HORIZON for one in laboratory.database.read_now(list_partitions))
    assert removed(laboratory, remove(laboratory)) == {MOVED: 0, held_results.name: 0}
    await lift(laboratory, person)
    assert await kept(laboratory, person) == [("R1", 1, ""), ("R1", 2, "a slip")]
    assert removed(laboratory, remove(laboratory)) == {MOVED: 0, held_results.name: 2}
    assert await kept(laboratory, person) == []
    assert await kept(laboratory, times) == [("R4", 1, "")]
    for hold_id in (times, elsewhere):
        await lift(laboratory, hold_id)
    assert removed(laboratory, remove(laboratory))[held_results.name] == 1
    assert await laboratory.stores.holds.list_holds("", None, 9, include_lifted=False) == []
    assert len(await laboratory.stores.holds.list_holds("", None, 9, include_lifted=True)) == 3
    with pytest.raises(NotFound):
        await lift(laboratory, uuid7())


async def test_a_purge_that_is_killed_loses_nothing_that_is_held(
    sqlite: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A move is one transaction. The next purge goes on."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    await sqlite.send([make_tube(person, reported=BEFORE) for person in range(5)])
    hold_id = await put(sqlite, lab=USCC)
    move, moves = purge_module.move_held, []

    def move_once(*given: Any) -> bool:
        moves.append(1)
        return move(*given) if len(moves) < 2 else bool(die())

    with monkeypatch.context() as patched:
        patched.setattr(purge_module, "move_held", move_once)
        with pytest.raises(KeyboardInterrupt):
            remove(sqlite)
    assert len(await kept(sqlite, hold_id)) + len(await sqlite.numbers()) == 5
    assert remove(sqlite).result_count == 0
    assert len(await kept(sqlite, hold_id)) == 5


async def test_no_hold_is_put_while_a_purge_runs(laboratory: Laboratory) -> None:
    """The purge has read the holds already, and could destroy what the new one is about."""
    with (
        try_process_lock(laboratory.database, "purge", AdvisoryLock.PURGE),
        pytest.raises(Unavailable, match="a purge is under way") as caught,
    ):
        await put(laboratory, lab=USCC)
    assert caught.value.reason == "OVERLOADED"
    assert await laboratory.stores.holds.list_holds("", None, 9, include_lifted=True) == []
    counted = laboratory.database.read_now(
        lambda connection: connection.execute(select(func.count()).select_from(held_results)).scalar()
    )
    assert counted == 0


async def test_held_results_are_destroyed_in_steps(laboratory: Laboratory) -> None:
    """Each step examines as many results as one transaction may, and keeps those that another hold covers."""
    await laboratory.send([make_tube(person, reported=BEFORE) for person in range(7)], now=BEFORE)
    everything = await put(laboratory, lab=USCC)
    person = await put(laboratory, subject_key=subject_key(3))
    assert removed(laboratory, remove(laboratory)) == {MOVED: 7, held_results.name: 0}
    await lift(laboratory, everything)
    counts, steps = DeletionCounts(deletion_counts, uuid7()), []
    after: HeldPosition | None = BEFORE_ANY_HELD
    while after is not None:
        before = await count_held(laboratory)
        after = laboratory.database.write_now(partial(destroy_released, counts, 2), HORIZON, after)
        steps.append(before - await count_held(laboratory))
    assert (sum(steps), max(steps), len(steps)) == (6, 2, 4)
    assert await kept(laboratory, person) == [("R3", 1, "")]
    assert laboratory.database.read_now(counts.read) == {held_results.name: 6}


async def count_held(laboratory: Laboratory) -> int:
    return await laboratory.database.read(
        lambda connection: connection.execute(select(func.count()).select_from(held_results)).scalar_one()
    )


async def test_holds_are_put_at_the_same_time(laboratory: Laboratory) -> None:
    """None is refused because another one is being put. A purge waits for all of them."""
    with try_process_lock(laboratory.database, "purge", AdvisoryLock.PURGE, is_shared=True) as is_held:
        assert is_held
        await asyncio.gather(*(put(laboratory, lab=USCC) for _ in range(4)))
        with pytest.raises(Unavailable, match="a legal hold is being put"):
            remove(laboratory)
    assert len(await laboratory.stores.holds.list_holds("", None, 9, include_lifted=True)) == 4
