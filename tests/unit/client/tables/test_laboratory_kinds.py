"""Files in the manner of laboratories: what is read, what is put aside, and what is refused as a whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hutong.type.v1.outcome_pb2 import Outcome
from hutong_client.formatting import SHANGHAI
from hutong_client.tables.open import open_table
from hutong_client.tables.rows import NotATable
from hutong_client.tables.tubes import BadRow, Reading, ReadTube, read_tubes
from hutong_texts import CHINESE, speaking

from tests.support.client.laboratory_kind import Kind
from tests.support.client.laboratory_kinds import KINDS

ENGLISH_WORDS = re.compile(r"\b[a-z]{2,} [a-z]{2,}\b")


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_kind_has_its_right_answer(tmp_path: Path, kind: Kind) -> None:
    """Every row is in a tube or put aside with the column that is to blame."""
    path = kind.make(tmp_path)
    reading = Reading(SHANGHAI, "220502", kind.items)
    if kind.refused:
        with pytest.raises(NotATable, match=kind.refused), open_table(path, encoding=kind.encoding) as table:
            list(table)
        with speaking(CHINESE), pytest.raises(NotATable) as told, open_table(path, encoding=kind.encoding) as table:
            list(table)
        assert not ENGLISH_WORDS.search(str(told.value))
        return
    with open_table(path, encoding=kind.encoding) as table:
        items = list(read_tubes(table, reading))
        notices = "\n".join(table.notices)
    tubes = [item.tube for item in items if isinstance(item, ReadTube)]
    assert {tube.tube_code: len(tube.persons) for tube in tubes} == kind.tubes
    assert {item.row.number: item.faults[0].column for item in items if isinstance(item, BadRow)} == kind.bad
    assert kind.notice in notices
    assert bool(notices) == bool(kind.notice)
    assert all(tube.HasField("sample_time") and tube.HasField("report_time") for tube in tubes)
    if kind.sampled:
        assert {tube.sample_time.ToJsonString() for tube in tubes} == {kind.sampled}
    if kind.outcome:
        assert {Outcome.Name(tube.outcome).removeprefix("OUTCOME_") for tube in tubes} == {kind.outcome}


def test_there_are_many_kinds() -> None:
    """Each has a name of its own."""
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 60
