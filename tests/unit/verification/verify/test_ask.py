"""What is asked of Policy and Results about a batch of questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hutong.results.v1.results_service_pb2 import LookupLatestResponse

from services.domain.instant import SECOND, Instant
from services.verification.decision.model import SOURCE_UNAVAILABLE, SourceStatus
from services.verification.sources.lookup_answer import LookupAnswer, answer_from_message
from services.verification.sources.model import LookUp, PolicyAnswer
from services.verification.sources.policy_client import NOT_KNOWN_HERE
from services.verification.verify.ask import Sources
from services.verification.verify.inputs import SourceAnswers
from tests.support.verification.node import question
from tests.support.verification.questions import decode_question
from tests.support.verification.story import ScriptedPolicy

NOW: Instant = 1_660_190_400 * SECOND
HERE, ELSEWHERE = "410105", "220502"


class PolicyOfHenan(ScriptedPolicy):
    """A client of Henan's Policy. Every place asks for 48 hours."""

    def __init__(self) -> None:
        self.set("48h")

    def is_complete(self, known: PolicyAnswer, region: str) -> bool:
        """Return whether the place lies in Henan, or a floor lifts."""
        return known.is_lifted or region.startswith("41")


class CountingResults:
    """A client of Results that counts look-ups. It finds nothing."""

    unavailable = SourceStatus("nodes/410000/results", SOURCE_UNAVAILABLE, None)
    count = 0

    async def look_up_each(self, look_ups: Sequence[LookUp]) -> Sequence[LookupAnswer]:
        """Answer each look-up."""
        self.count += len(look_ups)
        return [answer_from_message(LookupLatestResponse()) for _ in look_ups]


async def test_results_are_looked_up_only_for_places_whose_policies_are_known() -> None:
    """Results cannot change a decision about another place. A batch omits their look-up, as a single question does."""
    policies: Any = PolicyOfHenan()
    results: Any = CountingResults()
    asked = [decode_question(question("410105186001010019", region=region), NOW) for region in (HERE, ELSEWHERE, HERE)]
    answers = await Sources(policies, results).ask_each(asked)
    assert results.count == 2
    here, elsewhere, again = answers
    assert isinstance(here, SourceAnswers)
    assert here.policy is policies.answer
    assert here.results is not None
    assert elsewhere == SourceAnswers(None, NOT_KNOWN_HERE, None, None)
    assert again == here
