"""The table of examined answers: who is let in where, by which rule, until when, and what the gate does."""

from __future__ import annotations

import pytest

from tests.support.verification.examined import Case, describe, read_cases


@pytest.mark.parametrize("case", list(read_cases()), ids=lambda case: case.name)
def test_answer(case: Case) -> None:
    """Outcome, reason, expiry, action and, where the table names them, basis and origin are as the table says.

    The place may refuse exactly where the action says so.
    """
    decision = case.decide()
    found = describe(decision, case.expected)
    assert found == case.expected
    assert decision.refusal_permitted == (" MAY_BE_REFUSED" in found and "then" not in found)
