"""An upload that is cut, sent again and sliced anew, however often, ends as one that went through undisturbed."""

from __future__ import annotations

import itertools
from typing import Any

from hutong.results.v1 import upload_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.results.upload.model import Acknowledgement
from tests.support.results.factories import PENDING, USCC, make_tube
from tests.support.results.store import Laboratory

_runs = itertools.count()


def a_day(run: str) -> list[upload_pb2.Tube]:
    """A bit of everything: singles, a pool, sampling records and their results, duplicates, conflicts, faults."""
    bad_person = make_tube(10, 3)
    bad_person.persons[1].document.number = "410105186001010011"
    tubes = [
        make_tube(0),
        make_tube(1, outcome=PENDING),
        make_tube(2, 3),
        make_tube(1),
        make_tube(0),
        make_tube(20, 2, region="999999"),
        bad_person,
        make_tube(2, 3, site="另一采样点"),
        make_tube(30, outcome=PENDING),
        make_tube(1, outcome=PENDING),
        make_tube(30),
        make_tube(30, site="另一采样点"),
        make_tube(10, 3),
        make_tube(40),
    ]
    for person in (person for tube in tubes for person in tube.persons):
        person.report_number = f"{run}.{person.report_number}"
    return tubes


LENGTH = len(a_day(""))


async def state_after(laboratory: Laboratory, run: str) -> tuple[Any, ...]:
    """Return what is stored of a run, and the counters of its upload, without the name of the run."""
    names = (
        "report_number",
        "revision",
        "state",
        "outcome",
        "subject_key",
        "reference_time",
        "sample_site",
        "tube_code",
    )
    rows = [(row[0].removeprefix(f"{run}."), *row[1:]) for row in await laboratory.rows(*names)]
    mine = [row for row in rows if "." not in row[0]]
    upload = await laboratory.stores.uploads.get_upload(USCC, run)
    return mine, upload.committed_offset, upload.accepted_count, upload.duplicate_count, upload.rejected_count


def rejections_of(acknowledgement: Acknowledgement, offset: int) -> list[tuple[Any, ...]]:
    """Rejections by the tube's place in the upload."""
    return [(offset + each.tube_index, each.person_index, each.violations) for each in acknowledgement.rejections]


async def undisturbed(laboratory: Laboratory) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    run = f"plain{next(_runs)}"
    acknowledgement = await laboratory.send(a_day(run), upload_id=run)
    return await state_after(laboratory, run), rejections_of(acknowledgement, 0)


steps = st.lists(
    # How far back of the committed offset a batch begins, how many tubes it has, and whether by a new stream.
    st.tuples(st.integers(0, LENGTH), st.integers(1, LENGTH), st.booleans()),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
async def test_any_slicing_with_any_replays_ends_the_same(
    laboratory: Laboratory, steps: list[tuple[int, int, bool]]
) -> None:
    """The same results are stored, the counters are the same, and each rejection is repeated word for word."""
    state, rejections = await undisturbed(laboratory)
    run = f"r{next(_runs)}"
    tubes = a_day(run)
    committed = 0
    position = laboratory.position(run)
    for back, length, anew in [*steps, (0, LENGTH, True), (LENGTH, LENGTH, False)]:
        offset = max(0, committed - back)
        batch = tubes[offset : offset + length]
        if not batch:
            continue
        if anew:
            position = laboratory.position(run)
        acknowledgement = await laboratory.send(batch, offset, position=position)
        committed = max(committed, offset + len(batch))
        assert acknowledgement.committed_offset == committed
        persons = sum(len(tube.persons) for tube in batch)
        told = acknowledgement.accepted_count + acknowledgement.duplicate_count + acknowledgement.rejected_count
        assert told == persons
        here = [each for each in rejections if offset <= each[0] < offset + len(batch)]
        assert rejections_of(acknowledgement, offset) == here
    assert await state_after(laboratory, run) == state


async def test_every_prefix_sent_again_changes_nothing(laboratory: Laboratory) -> None:
    """A client does the same if it loses its connection after each batch and begins from the first tube."""
    state, _ = await undisturbed(laboratory)
    run = f"r{next(_runs)}"
    tubes = a_day(run)
    for end in range(1, LENGTH + 1):
        await laboratory.send(tubes[:end], upload_id=run)
    assert await state_after(laboratory, run) == state
