"""A question that is decided."""

from __future__ import annotations

from typing import NamedTuple

from services.verification.decision.model import Decision
from services.verification.verify.inputs import GatheredInputs, SourceAnswers


class SettledQuestion(NamedTuple):
    """A decision with the answers and inputs that it was made from."""

    answers: SourceAnswers
    gathered: GatheredInputs
    decision: Decision
