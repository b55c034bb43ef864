"""The action of a gate is the table of tests/scenarios/gate_actions.csv, row by row, and nothing else."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hutong.verification.v1 import decision_pb2 as pb

from services.verification.decision.actions import (
    ALL_ANSWERED,
    ANY_ANSWERED,
    NATION_NOT_ASKED,
    NO_ANSWER,
    POLICY_UNKNOWN,
    ROWS,
    GateRow,
    gate_row,
)

TABLE = list(csv.DictReader((Path(__file__).parents[3] / "scenarios/gate_actions.csv").open(encoding="utf-8")))
DECISIONS = [line for line in TABLE if line["outcome"] != "status"]
HEARD = {
    "*": (ALL_ANSWERED, NATION_NOT_ASKED, NO_ANSWER, NATION_NOT_ASKED | NO_ANSWER),
    "policy away": (POLICY_UNKNOWN,),
    "a source away": (NO_ANSWER, NATION_NOT_ASKED | NO_ANSWER),
    "scope LOCAL": (NATION_NOT_ASKED,),
    "all": (ALL_ANSWERED,),
    "all or a source away": (ALL_ANSWERED, NO_ANSWER),
}
RULES = {"*": (True, False), "true": (True,), "false": (False,), "unknown": (False,)}


@pytest.mark.parametrize("line", DECISIONS, ids=lambda line: f"{line['row']} {line['reason']}")
def test_each_row_is_the_action_of_its_decisions(line: dict[str, str]) -> None:
    """A decision that matches a row gets its action, what follows it, and whether the case is registered."""
    outcome = pb.DecisionOutcome.Value(f"DECISION_OUTCOME_{line['outcome']}")
    reason = pb.DecisionReason.Value(f"DECISION_REASON_{line['reason']}")
    permitted = line["refusal_permitted"] == "true"
    for heard in HEARD[line["heard"]]:
        for may_refuse in RULES[line["rule_may_refuse"]]:
            row = gate_row(outcome, reason, heard, refusal_permitted=permitted, rule_may_refuse=may_refuse)
            assert row.number == int(line["row"])
            assert pb.GateAction.Name(row.action) == f"GATE_ACTION_{line['action']}"
            # "ROW n" stands for what the new answer says: the action of that row or of the one that forbids it.
            then = "UNSPECIFIED" if not line["then"] or line["then"].startswith("ROW") else line["then"]
            assert pb.GateAction.Name(row.then_action) == f"GATE_ACTION_{then}"
            assert row.must_register == (line["register"] == "yes")
            assert row.text.endswith(".")


def test_table_has_no_other_rows() -> None:
    """The code knows the rows of the table, in its order, and those alone."""
    assert [row.number for row in ROWS] == [int(line["row"]) for line in DECISIONS]
    assert all(0 < row.heard <= ANY_ANSWERED for row in ROWS)


def test_scope_local_is_read_first() -> None:
    """For a positive known only here the gate asks with scope unset, even if a source did not answer either."""
    heard = NATION_NOT_ASKED | NO_ANSWER
    for reason, number in ((pb.DECISION_REASON_POSITIVE_RESULT, 28), (pb.DECISION_REASON_PENDING_RECHECK, 32)):
        row = gate_row(pb.DECISION_OUTCOME_NOT_RECOGNIZED, reason, heard, refusal_permitted=False, rule_may_refuse=True)
        assert row.number == number


def test_only_a_permitted_refusal_is_a_refusal() -> None:
    """MAY_BE_REFUSED stands exactly where refusal_permitted does, and never after asking again."""
    for row in ROWS:
        assert (row.action == pb.GATE_ACTION_MAY_BE_REFUSED) == row.refusal_permitted
        assert row.then_action != pb.GATE_ACTION_MAY_BE_REFUSED


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_sentence_for_the_holder_has_no_word_of_the_contract(row: GateRow) -> None:
    """A gate tells the sentence to the holder. It names no field, such as expire_time, and no scope of a look-up."""
    sentence = str(row.text)
    assert "_" not in sentence
    assert "scope" not in sentence
