"""The sample policies answer as the public record of 2022 says, by the pure rules alone."""

from __future__ import annotations

import pytest

from services.domain.instant import from_timestamp
from services.policy.convert import bare_statement, revision_from_proto
from services.policy.rules.guards import Publication, check_publication
from services.policy.rules.resolve import PolicyBook
from services.policy.serving.resolver import response_to_proto
from tests.support.policy import record

NOW = 1_800_000_000_000_000
CASES = list(record.cases())


@pytest.fixture(scope="module")
def book() -> PolicyBook:
    """The samples, each let through by the guards in the order of the files."""
    book = PolicyBook()
    for request in record.publications():
        statement = bare_statement(request.policy)
        number = len(book.series(statement.region, statement.policy_id)) + 1
        revision = revision_from_proto(statement, number, NOW, request.retroactive_reason)
        check_publication(Publication(revision, "000000", NOW), book)
        book = book.with_revisions([revision])
    return book


@pytest.mark.parametrize("row", dict.fromkeys(case.row for case in CASES))
def test_place_answers_as_on_that_day(book: PolicyBook, row: str) -> None:
    """The rule, its window and basis, and all else that the scenarios of the row mention."""
    for question, expected in ((case.question, case.expected) for case in CASES if case.row == row):
        at = from_timestamp(question.effective_time)
        answer = book.resolve(question.region, question.purpose, question.arriving_from, at)
        assert record.describe_expected(record.policy_of(response_to_proto(answer)), expected) == expected, question


def test_every_sample_policy_is_asked_for() -> None:
    """No file without a scenario in which its revision governs or binds."""
    numbers: dict[str, int] = {}
    expected = set()
    for request in record.publications():
        name = request.policy.name.removeprefix("jurisdictions/").replace("/policies/", "/")
        numbers[name] = numbers.get(name, 0) + 1
        expected.add(f"{name}@{numbers[name]}")
    asked = {case.expected.get(key) for case in CASES for key in ("rule", "floor", "within", "outside")}
    assert expected <= asked
