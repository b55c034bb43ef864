"""Questions as Verification decodes them."""

from __future__ import annotations

from hutong.verification.v1.verification_service_pb2 import VerifyRequest

from services.domain.instant import Instant
from services.domain.subject import Pepper
from services.verification.holder_tokens.seal import TokenSeal
from services.verification.verify.questions.asker import Asker
from services.verification.verify.questions.question import Question, question_from_proto

_SEAL = TokenSeal(Pepper(b"p" * 32))


def decode_question(request: VerifyRequest, now: Instant) -> Question:
    """Return the question of a caller that may see everything and need not state a name."""
    return question_from_proto(request, now, Asker(), _SEAL)
